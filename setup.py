"""Installs the package, its two scripts and its command for fetching: pip install ."""

import re
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = Path(__file__).parent / "supervised_reptile"
REPORT = ["matplotlib>=3.10,<4"]
# What an installed package has, too, by the names of its folders.
ELSEWHERE = {
    "supervised_reptile.models": "experiments/models",
    "supervised_reptile.drawing.examples": "experiments/drawings/labelled",
}

setup(
    name="supervised-reptile",
    version=re.search(r'__version__ = "(.*)"', (PACKAGE / "__init__.py").read_text())[1],
    description="Reptile and first-order MAML for few-shot classification, on TensorFlow 2",
    long_description=(PACKAGE.parent / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.10,<3.14",
    packages=[*find_packages(include=["supervised_reptile*"]), *ELSEWHERE],
    package_dir=ELSEWHERE,
    package_data={
        "supervised_reptile": ["py.typed"],
        "supervised_reptile.models": ["[mo]*/*"],  # those of the paper's tables
        "supervised_reptile.drawing": ["page.*"],
        "supervised_reptile.drawing.examples": ["*/*"],
    },
    scripts=["run_omniglot.py", "run_miniimagenet.py"],
    entry_points={
        "console_scripts": ["fetch-reptile-data = supervised_reptile.fetch.__main__:main"]
    },
    install_requires=[
        "numpy>=2.2,<3",
        "pillow>=12,<14",
        "requests>=2.32,<3",
        "tensorboard>=2.21,<3",
        "tensorflow>=2.21,<3",
        "tqdm>=4.67,<5",
        "urllib3>=2.2,<3",
        "werkzeug>=3.1,<4",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.21,<3"],
        "report": REPORT,
        "test": [
            *REPORT,
            "hypothesis>=6.168,<7",
            "mypy>=2.4,<3",
            "pytest>=9,<10",
            "pytest-xdist>=3.8,<4",
            "ruff>=0.17,<1",
            "selenium>=4.40,<5",
            "types-requests>=2.33,<3",
            "types-tqdm>=4.70,<5",
        ],
    },
)
