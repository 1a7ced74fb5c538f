// What a person would call broken: every piece of text as it lies on the page, against its neighbours and its place.
() => {
  const flaws = [];
  const root = document.scrollingElement;
  if (root.scrollWidth > root.clientWidth) flaws.push(`the page is ${root.scrollWidth} wide of ${root.clientWidth}`);
  const pieces = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); ) {
    const holder = node.parentElement;
    if (!node.data.trim() || !holder.checkVisibility() || holder.closest("script, title, desc")) continue;
    const place = holder.closest("td, th, svg, h1, h2, h3, h4, p, dd, dt, li, pre, summary, .key, main");
    const scroller = holder.closest(".wide");
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const rect of range.getClientRects()) {
      const box = place.getBoundingClientRect();
      const words = node.data.trim().slice(0, 40);
      // where spaces are kept, those at the end of a line may hang over
      const slack = getComputedStyle(holder).whiteSpaceCollapse === "preserve" ? 6 : 2;
      if (rect.left < box.left - slack || rect.right > box.right + slack) flaws.push(`"${words}" leaves its ${place.tagName}`);
      if (!scroller && rect.right > root.clientWidth + 1) flaws.push(`"${words}" lies beyond the right edge`);
      pieces.push({ words, node, scroller, left: rect.left, right: rect.right, top: rect.top, bottom: rect.bottom });
    }
  }
  pieces.sort((a, b) => a.top - b.top);
  pieces.forEach((one, at) => {
    for (const other of pieces.slice(at + 1)) {
      if (other.top >= one.bottom) break;
      const across = Math.min(one.right, other.right) - Math.max(one.left, other.left);
      const down = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
      // lines of text may touch, since their boxes are taller than their signs; two of one node never overlap
      if (across > 1 && down > 4 && one.node !== other.node) flaws.push(`"${one.words}" overlaps "${other.words}"`);
    }
  });
  return flaws;
}
