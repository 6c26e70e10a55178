"use strict";

/* Makes elements of text that may hold anything: markup stays text, and what would turn its direction is shown. */
class Words {
  static CONTROLS = /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/;

  /* An element with classes and children, which are elements or strings. */
  static element(tag, classes, ...children) {
    const made = document.createElement(tag);
    if (classes) made.className = classes;
    made.append(...children);
    return made;
  }

  /* A file's name in an element that keeps its direction to itself. */
  static name(key) {
    const made = Words.element("bdi");
    for (const part of key.split(new RegExp(`(${Words.CONTROLS.source})`))) {
      if (Words.CONTROLS.test(part)) made.append(Words.element("span", "control", Words.code(part)));
      else if (part) made.append(part);
    }
    return made;
  }

  /* A file's name as plain text, for labels. */
  static plain(key) {
    return key.replace(new RegExp(Words.CONTROLS.source, "g"), Words.code);
  }

  static code(character) {
    return `‹${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}›`;
  }

  /* A key as part of an address. */
  static address(key) {
    return key.split("/").map(encodeURIComponent).join("/");
  }

  static number(value) {
    return value.toLocaleString("en");
  }
}
