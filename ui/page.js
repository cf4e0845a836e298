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

  // What a pressed element asks for. In the chat the sanitizer leaves classes only: do-redraw to-12.
  const read = (target) => {
    const button = target.closest('[data-act], .act');
    if (!button) return null;
    if (button.dataset.act) return { act: button.dataset.act, arg: button.dataset.arg || '' };
    const found = /\bdo-(\w+) to-(\w*)/.exec(button.className);
    return found && { act: found[1], arg: found[2] };
  };

  document.addEventListener('click', (event) => {
    const pressed = read(event.target);
    if (pressed) {
      say(doing[pressed.act] || 'Working');
      if (open() === 'left' && pressed.act !== 'delete') slide('left');
    }
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
