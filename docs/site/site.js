// What Material leaves without a name or out of the keyboard's reach.
document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
document$.subscribe(() => {
  for (const frame of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code, .highlight pre"))
    frame.tabIndex = 0;
});
