// The theme gives the dialog of the search no name for screen readers, and lets nobody scroll a wide
// table by keyboard. Its own scripts wrap tables, so what they add is watched.
document.querySelector(".md-search").setAttribute("aria-label", "Search");
const letScroll = () => {
  for (const wrap of document.querySelectorAll(".md-typeset__scrollwrap")) wrap.tabIndex = 0;
};
new MutationObserver(letScroll).observe(document.body, { childList: true, subtree: true });
letScroll();
