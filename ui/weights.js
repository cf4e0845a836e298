// The card of weights that are not here yet, told anew each second. While the server changes its page there is no answer; when there is one
// without a card, the page has switched over, and is loaded again.
(() => {
  if (window.cafeWeights) return; // gradio puts the head in twice
  window.cafeWeights = true;
  let shown = '', away = false;
  const look = async () => {
    const place = document.querySelector('#weights .card')?.parentElement;
    if (place) {
      try {
        const answer = await fetch('weights', { cache: 'no-store' });
        if (answer.status === 404) { window.location.reload(); return; }
        const now = await answer.text();
        const open = place.querySelector('details')?.open;
        if (answer.ok && (now !== shown || away)) {
          place.innerHTML = shown = now;
          const details = place.querySelector('details');
          if (details && open !== undefined) details.open = open;
          away = false;
        }
      } catch {
        away = true;
        const line = place.querySelector('.line span');
        if (line) line.textContent = 'The page is switching over ...';
      }
    }
    setTimeout(look, 1000);
  };
  look();
})();
