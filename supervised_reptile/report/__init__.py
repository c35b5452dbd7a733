"""What runs gave, beside what the paper reports: python -m supervised_reptile.report FOLDER."""
