"""Results of runs, compared with the paper's: python -m supervised_reptile.report FOLDER."""
