// What must happen before the server answers: a word of what was pressed, columns that slide, the theme, the address.
// Everything else is decided on the server.
window.cafe = window.cafe || (() => { // gradio puts the head in twice
  const doing = {
    new: 'Opening a new conversation', open: 'Opening', delete: 'Deleting', restore: 'Bringing it back',
    subject: 'Putting it into the box', wish: 'Sending', redraw: 'Drawing it again', retry: 'Trying again',
    pin: 'Pinning the seed', unpin: 'Letting the seed go', use: 'Putting it into the box',
  };
  const say = (words) => { const line = document.getElementById('status'); if (line) line.textContent = words; };
  const open = () => document.getElementById('desk')?.dataset.open || ''; // the column that lies over the chat
  const slide = (side) => { document.getElementById('desk').dataset.open = open() === side ? '' : side; };

  const dark = (on) => document.body.classList.toggle('dark', on);
  const remembered = () => { try { return localStorage.getItem('cafe-theme'); } catch { return null; } };
  const remember = (name) => { try { localStorage.setItem('cafe-theme', name); } catch { /* private window */ } };

  // What a pressed element asks for. In the chat the sanitizer leaves classes only: do-redraw to-12. An act with a dot in
  // its name is a panel's: do-mix.add to-12. What stands in the fields of the form around it goes along.
  const read = (target) => {
    const button = target.closest('[data-act], .act');
    if (!button) return null;
    const found = /\bdo-([\w.]+) to-(\w*)/.exec(button.className);
    const act = button.dataset.act || found?.[1];
    if (!act) return null;
    const fields = {};
    button.closest('[data-form]')?.querySelectorAll('[data-field]').forEach((field) => {
      fields[field.dataset.field] = field.type === 'checkbox' ? String(field.checked) : field.value;
    });
    return { act, arg: button.dataset.arg || found?.[2] || '', panel: act.includes('.') ? act.split('.')[0] : '', fields };
  };

  // Bring a panel to the front, from data-panel="mix", or from an act whose button has the class opens (do-mix.add ... opens).
  const show = (panel) => {
    document.getElementById(`panel-${panel}-button`)?.click();
    if (open() !== 'right' && window.matchMedia('(max-width: 980px)').matches) slide('right');
  };

  document.addEventListener('click', (event) => {
    const pressed = read(event.target);
    if (pressed) {
      say(doing[pressed.act] || (pressed.panel ? '' : 'Working')); // a panel says what it does in its own place
      if (open() === 'left' && pressed.act !== 'delete') slide('left');
    }
    const panel = event.target.closest('[data-panel]')?.dataset.panel || (event.target.closest('.opens') && pressed?.panel);
    if (panel) show(panel);
    const ui = event.target.closest('[data-ui]');
    if (ui) {
      const what = ui.dataset.ui;
      if (what === 'theme') {
        const on = !document.body.classList.contains('dark');
        dark(on);
        remember(on ? 'dark' : 'light');
      } else if (what === 'close') slide(open());
      else slide(what);
    }
    if (event.target.closest('#box .submit-button')) say('Sending');
    if (event.target.closest('#box .stop-button')) say('Stopping');
  }, true);
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && open()) slide(open());
    if (event.key === 'Enter' && !event.shiftKey && event.target.closest('#box textarea')) say('Sending');
  }, true);

  new MutationObserver(() => {
    const line = document.getElementById('status');
    if (line?.textContent === 'Stopping' && !document.querySelector('#box .stop-button')) say('');
    // Gradio labels each message with its whole markup; a screen reader would read it all out.
    document.querySelectorAll('#chat [data-testid][aria-label]').forEach((message) => {
      const name = message.dataset.testid === 'user' ? 'You' : 'CAFE';
      if (message.getAttribute('aria-label') !== name) message.setAttribute('aria-label', name);
    });
  }).observe(document.documentElement, { childList: true, subtree: true });

  return {
    read,
    show,
    idle: () => say(''),
    here: () => {
      const theme = remembered();
      if (theme) dark(theme === 'dark');
      return [new URL(window.location).searchParams.get('c') || ''];
    },
    address: (id) => {
      const url = new URL(window.location);
      if (id) url.searchParams.set('c', id); else url.searchParams.delete('c');
      window.history.replaceState(null, '', url);
    },
  };
})();
