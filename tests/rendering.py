"""Renders every project that the template can make, in this process and without writing files.

Cookiecutter needs half a second for a project, and there are hundreds of them. A file depends only
on the options that it names, so each file is rendered once for each set of answers to these, and a
project is put together from such renderings. A test compares them with Cookiecutter's projects.
"""

from __future__ import annotations

import fnmatch
import runpy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bake import PROJECT_FOLDER
from cookiecutter.generate import generate_context
from cookiecutter.prompt import prompt_for_config
from cookiecutter.utils import create_env_with_context
from jinja2 import Template, nodes

from tests.options import DEFAULTS, OPTIONS, Answers

Project = Mapping[str, str]
"""The text of each file, by its path with forward slashes."""


class Rendering:
    """The template, and the files that have been rendered so far."""

    def __init__(self, template: Path, scratch: Path) -> None:
        """Read every file of the template; `scratch` is a folder in which to run the hook."""
        self._questions = template / "cookiecutter.json"
        self._raw = generate_context(str(self._questions))["cookiecutter"]
        self._contexts: dict[tuple[tuple[str, object], ...], dict[str, Any]] = {}
        self._context = self._context_for({})
        self._env = create_env_with_context(self._context)
        self._derived = {
            name: self._env.from_string(text)
            for name, text in self._raw.items()
            if name.startswith("__") and isinstance(text, str)
        }
        removed = read_table(template, scratch, "REMOVE")
        self._renamed = read_table(template, scratch, "RENAME")
        folder = template / PROJECT_FOLDER
        self.sources = {
            path.relative_to(folder).as_posix(): path.read_bytes().decode("utf-8")
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        self._removed = {row: set(self._below(paths)) for row, paths in removed.items()}
        self._options = {name: self._options_of(name) for name in self.sources}
        self._templates: dict[str, Template] = {}
        self._texts: dict[tuple[str, tuple[object, ...]], str] = {}

    def project(self, answers: Answers) -> Project:
        """Return the project with these answers."""
        removed = set().union(*self._rows_for(self._removed, answers))
        project = {name: self._text(name, answers) for name in self.sources if name not in removed}
        for names in self._rows_for(self._renamed, answers):
            project |= {new: project.pop(old) for old, new in names.items()}
        return project

    def _below(self, paths: list[str]) -> Iterator[str]:
        """Yield the files that some paths name, or that are in folders which they name."""
        for name in self.sources:
            if any(name == path or name.startswith(f"{path}/") for path in paths):
                yield name

    def _rows_for(self, table: Mapping[tuple[str, object], Any], answers: Answers) -> list[Any]:
        """Return the rows of a table of the hook that apply to these answers."""
        rows = table.items()
        return [row for (option, value), row in rows if self._answer(option, answers) == value]

    def _answer(self, option: str, answers: Answers) -> object:
        """Return an answer, which cookiecutter.json may derive from others."""
        if option in answers:
            return answers[option]
        return self._derived[option].render(cookiecutter=answers)

    def _text(self, name: str, answers: Answers) -> str:
        options = self._options[name]
        key = name, tuple(answers[option] for option in options)
        if key not in self._texts:
            relevant = {option: answers[option] for option in options}
            self._texts[key] = self._render(name, {**DEFAULTS, **relevant})
        return self._texts[key]

    def _render(self, name: str, answers: Answers) -> str:
        if self._is_copied(name):
            return self.sources[name]
        if name not in self._templates:
            self._templates[name] = self._env.from_string(self.sources[name])
        text: str = self._templates[name].render(**self._context_for(answers))
        return text

    def _is_copied(self, name: str) -> bool:
        patterns = self._context["cookiecutter"]["_copy_without_render"]
        return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)

    def _options_of(self, name: str) -> list[str]:
        """Return the options that a file depends on."""
        if self._is_copied(name):
            return []
        variables = self._variables(self.sources[name])
        return [option for option in OPTIONS if option in variables]

    def _variables(self, source: str) -> set[str]:
        """Return the answers that a template reads, directly or through derived ones."""
        tree = self._env.parse(source)
        names = {node.attr for node in tree.find_all(nodes.Getattr) if _is_answers(node.node)}
        whole = [node for node in tree.find_all(nodes.Name) if _is_answers(node)]
        read = [node.node for node in tree.find_all(nodes.Getattr)]
        assert all(any(name is node for node in read) for name in whole), source
        derived = [self._raw[name] for name in names if name.startswith("__")]
        return names.union(*(self._variables(template) for template in derived))

    def _context_for(self, answers: Answers) -> dict[str, Any]:
        """Return the context with which Cookiecutter renders, given these answers."""
        given = tuple(answers.items())
        if given not in self._contexts:
            context = generate_context(str(self._questions), extra_context=answers)
            context["cookiecutter"].update(prompt_for_config(context, no_input=True))
            self._contexts[given] = dict(context)
        return self._contexts[given]


def read_table(template: Path, scratch: Path, name: str) -> dict[tuple[str, object], Any]:
    """Return a table of the hook that runs after the generation."""
    hook = (template / "hooks" / "post_gen_project.py").read_text(encoding="utf-8")
    script = scratch / "post_gen_project.py"
    script.write_text(hook.replace("{{ cookiecutter | tojson }}", "{}"), encoding="utf-8")
    table: dict[tuple[str, object], Any] = runpy.run_path(str(script))[name]
    return table


def _is_answers(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == "cookiecutter"
