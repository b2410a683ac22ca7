// What of a page is beside the window, cut off, over its edge, or has to be scrolled sideways.
() => {
  const width = document.documentElement.clientWidth;
  const found = [];
  const named = (e) => `<${e.localName} class="${e.getAttribute("class") || ""}"> ${e.textContent.trim().replace(/\s+/g, " ").slice(0, 60)}`;
  const across = (e) => getComputedStyle(e).overflowX;
  const scrolls = (e) => ["auto", "scroll"].includes(across(e));
  const isInside = (e) => {
    for (let up = e.parentElement; up; up = up.parentElement) if (across(up) !== "visible") return true;
    return false;
  };
  // For screen readers alone, or out of sight until it has the focus.
  const isUnseen = (e) => (e.closest(".hidden, .skip, svg, option, thead, .side dt") && !e.matches("svg")) || !e.checkVisibility();
  const holdsLetters = (e) => e.matches("button, .button, td, th, dd") || [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim());
  const over = document.documentElement.scrollWidth - width;
  if (over > 0) found.push(`the page is ${over} pixels wider than the window`);
  for (const e of document.querySelectorAll("body *")) {
    if (isUnseen(e)) continue;
    const box = e.getBoundingClientRect();
    const style = getComputedStyle(e);
    if (!box.width || style.clipPath !== "none") continue;
    const beside = Math.round(Math.max(box.right - width, -box.left));
    if (beside > 1 && !isInside(e)) found.push(`beside the window by ${beside}: ${named(e)}`);
    if (style.display === "inline" || !e.clientWidth || e.matches("svg, img, input, select, textarea")) continue;
    const more = e.scrollWidth - e.clientWidth;
    if (more <= 1) continue;
    if (style.overflowX === "visible") {
      if (holdsLetters(e) && !e.querySelector(":scope > .hidden, :scope > figure")) found.push(`over its edge by ${more}: ${named(e)}`);
    } else if (scrolls(e)) {
      // A table of numbers has two directions; on a phone its region is scrolled, by keys too.
      const isTable = width < 400 && e.querySelector(".list:not(.stacks)");
      if (!isTable && !e.matches("blockquote")) found.push(`has to be scrolled sideways by ${more}: ${named(e)}`);
    } else if (style.textOverflow !== "ellipsis" && style.webkitLineClamp === "none" && !e.matches(".frame, .rows, .figures")) {
      found.push(`cut off by ${more}: ${named(e)}`);
    }
  }
  return found;
}
