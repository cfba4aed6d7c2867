// Boxes that scroll sideways are made reachable by keyboard, and only while there is something to scroll.
"use strict";
(function () {
  const BOXES = ".rl-scroll, article pre, .pst-scrollable-table-container, .cell_output .text_html";

  function reach(box) {
    if (box.scrollWidth > box.clientWidth + 1) {
      box.tabIndex = 0;
      box.setAttribute("role", "region");
      box.setAttribute("aria-label", (box.dataset.label || "wide content") + ", scrolls sideways");
    } else if (box.getAttribute("role") === "region") {
      box.removeAttribute("tabindex");
      box.removeAttribute("role");
      box.removeAttribute("aria-label");
    }
  }

  const watch = new ResizeObserver((entries) => entries.forEach((entry) => reach(entry.target)));
  document.querySelectorAll(BOXES).forEach((box) => watch.observe(box));
  document.fonts.ready.then(() => document.querySelectorAll(BOXES).forEach(reach));
})();
