"""Which libraries a command needs beyond those of the theory, and what to install where they are missing.

What a base install has runs every sweep and its figures, and the advisor on files; pyproject.toml has the same extras.
"""

from importlib.util import find_spec

from theory.console.typed import as_typed

# Extra -> what is imported of it.
EXTRAS = {
    "images": ("PIL", "sklearn"),
    "report": ("PIL", "jinja2"),
    "dask": ("distributed",),
    "parquet": ("pyarrow",),
    "rigorous": ("flint",),
    "tensorboard": ("tensorboard",),
    "peers": ("pytorch_metric_learning",),
}
# Commands, with all below them, and what they need.
NEEDED = {
    "models.cifar": ("images",),
    "models.advisor.coverage": ("images",),
    "synthetic.certify": ("rigorous",),
    "paper_checks": ("images", "report"),
}


def missing_for(module: str) -> str | None:
    """Why a command cannot run here, with the way out; None where it can."""
    needed = next((extras for name, extras in NEEDED.items() if f"{module}.".startswith(f"{name}.")), ())
    return why_missing(as_typed(f"python -m {module}"), *needed)


def require_extra(extra: str, what: str) -> None:
    """Refuse what needs an extra that is not installed.

    Args:
        what: the option or function, as its user writes it.

    Raises:
        ValueError: names what is missing, and how to install it.
    """
    if (why := why_missing(what, extra)) is not None:
        raise ValueError(why)


def why_missing(what: str, *extras: str) -> str | None:
    """That this needs what is not installed, and how to install it; None where all of it is there."""
    libraries = dict.fromkeys(library for extra in extras for library in EXTRAS[extra])
    lacking = [library for library in libraries if find_spec(library) is None]
    if not lacking:
        return None
    return (
        f"{what}: needs {' and '.join(lacking)}; pip install 'contrastive-theory-toolkit[{','.join(extras)}]', or in "
        f"a checkout pip install -c constraints.txt -e '.[{','.join(extras)}]'"
    )
