"""Packaging of the library: `tfc_models` is the only thing that is installed."""

from pathlib import Path

from setuptools import find_packages, setup

README = Path(__file__).resolve().parent / "README.md"

# tensorflow-compression 2.14.1 is the last release with the entropy models that the
# codecs subclass, and it fixes TensorFlow, TensorFlow Probability, NumPy and Python.
# constraints.txt holds the exact version of everything below it.
INSTALL_REQUIRES = [
    "matplotlib>=3.8",
    "numpy>=1.23.5,<2",
    "pillow>=11.3,<13",  # 11.3 is the first whose wheels read and write AVIF.
    "rich>=13",
    "scipy>=1.11,<1.12",
    "tensorflow>=2.14.1,<2.15",
    "tensorflow-compression==2.14.1",
    "tensorflow-probability>=0.22.1,<0.23",
]

EXTRAS_REQUIRE = {
    # What `make demo`, `make test`, `make lint` and `make bench` need.
    "dev": [
        "hypothesis>=6.100",
        "import-linter>=2.5",
        "mypy>=1.19,<1.20",  # 1.20 needs Python 3.10.
        "pillow-heif>=1.1.1",
        "pillow-jxl-plugin>=1.3.4",
        "pytest>=8.1,<9",  # pytest-xdist 3.8 groups no tests under 9.
        "pytest-benchmark>=5",
        "pytest-xdist>=3.6",
        "ruff>=0.12",
        "scikit-image>=0.24",  # Its wheel carries the photos of the demo and the tests.
        "selenium>=4.25",
    ],
    # Codecs that `tfc-models evaluate` and `compare` use where they are installed.
    "peers": [
        "pillow-heif>=1.1.1",
        "pillow-jxl-plugin>=1.3.4",
    ],
    # tfc_models.training: `tfc-models train`.
    "train": [
        "absl-py>=1.4",
        "importlib-resources>=5.10",  # TensorFlow Datasets imports it, and does not say so.
        "scikit-learn>=1.5,<1.8",  # Its wheel carries the digits of training.weights.
        "setuptools<81",  # TensorBoard 2.14 imports pkg_resources.
        "tensorboard>=2.14.1,<2.15",
        "tensorflow-datasets>=4.9.3,<4.10",
        "tensorflow-metadata<1.18",  # Later ones need protobuf 5, and do not say so.
    ],
    # Pairs of frames out of videos, for PIM.
    "video": [
        "av>=12",
    ],
    # tfc_models.serving: `tfc-models serve`.
    "serving": [
        "absl-py>=1.4",
        "fastapi>=0.110",
        "grpcio>=1.48.2",
        "grpcio-health-checking>=1.48.2",
        "prometheus-client>=0.20",
        "scikit-image>=0.24",  # Its wheel carries the samples of the page.
        "tensorflow-serving-api==2.14.1",
        "uvicorn>=0.29",
    ],
    # tfc_models.serving.bulk: `tfc-models bulk`, here and on Beam's workers.
    "beam": [
        "absl-py>=1.4",
        "apache-beam>=2.69,<3",
    ],
    "notebooks": [
        "ipykernel>=6.29",
        "nbclient>=0.10",
        "nbformat>=5.10",
        "scikit-learn>=1.5,<1.8",
    ],
}

setup(
    name="tfc-models",
    version="0.1.0",
    description="Learned image compression: models, trained weights, and files that decode "
    "to identical latents on every machine.",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    author="The tfc-models authors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["image compression", "learned compression", "entropy coding", "TensorFlow"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.9",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Topic :: Multimedia :: Graphics :: Graphics Conversion",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["tfc_models", "tfc_models.*"]),
    package_data={
        "tfc_models": ["py.typed"],
        "tfc_models.analysis": ["*.json"],
        "tfc_models.perceptual": ["weights/*.md", "weights/*.npz"],
        "tfc_models.serving.page": ["static/*"],
        "tfc_models.zoo": [
            "weights/*.json",
            "weights/*.md",
            "weights/*.npz",
            "weights/*.tfcw",
        ],
    },
    zip_safe=False,
    python_requires=">=3.9,<3.12",
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
    entry_points={"console_scripts": ["tfc-models=tfc_models.cli.main:main"]},
)
