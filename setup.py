"""Installs the package and its two scripts: pip install ."""

from setuptools import setup

setup(
    name="supervised-reptile",
    version="0.1.0",
    description="Reptile and first-order MAML for few-shot classification, on TensorFlow 2",
    license="MIT",
    python_requires=">=3.10,<3.14",
    packages=["supervised_reptile", "supervised_reptile.fetch", "supervised_reptile.report"],
    scripts=["run_omniglot.py", "run_miniimagenet.py"],
    install_requires=[
        "numpy>=2.2,<3",
        "pillow>=12,<14",
        "requests>=2.32,<3",
        "tensorboard>=2.21,<3",
        "tensorflow>=2.21,<3",
        "tqdm>=4.67,<5",
        "urllib3>=2.2,<3",
    ],
    extras_require={
        "report": ["matplotlib>=3.10,<4"],
        "test": ["hypothesis>=6.168,<7", "pytest>=9,<10", "ruff>=0.17,<1"],
    },
)
