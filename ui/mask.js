// The dialog "What is drawn of it": what a browser's own dialog does, which gradio's components cannot be put into.
(() => {
  let from = null;
  document.addEventListener('click', (event) => { from = event.target.closest('.do-mask\\.open') || from; }, true);
  document.addEventListener('keydown', (event) => {
    const dialog = document.getElementById('mask');
    if (!dialog) return;
    if (event.key === 'Escape') { event.stopPropagation(); document.getElementById('mask-close').click(); }
    if (event.key !== 'Tab') return;
    const all = [...dialog.querySelectorAll('button, input, [tabindex="0"]')].filter((one) => one.offsetParent && !one.disabled);
    const end = event.shiftKey ? all[0] : all.at(-1);
    if (document.activeElement !== end && dialog.contains(document.activeElement)) return;
    event.preventDefault();
    (event.shiftKey ? all.at(-1) : all[0])?.focus();
  }, true);
  let shown = false;
  new MutationObserver(() => {
    const dialog = document.getElementById('mask');
    if (!!dialog === shown) return;
    shown = !!dialog;
    if (!shown) { from?.focus(); return; }
    for (const [name, value] of [['role', 'dialog'], ['aria-modal', 'true'], ['aria-labelledby', 'mask-title']]) dialog.setAttribute(name, value);
    setTimeout(() => document.getElementById('mask-title')?.focus(), 0);
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
