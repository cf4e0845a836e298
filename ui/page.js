// What must happen before the server answers, or when it does not: a word of what was pressed, columns that slide, the theme, the
// address, uploads that fail, what is kept of a page that is reloaded. Everything else is decided on the server.
window.cafe = window.cafe || (() => { // gradio puts the head in twice
  const doing = {
    new: 'Opening a new conversation', open: 'Opening', delete: 'Deleting', restore: 'Bringing it back',
    subject: 'Putting it into the box', wish: 'Sending', redraw: 'Drawing it again', retry: 'Trying again',
    pin: 'Pinning the seed', unpin: 'Letting the seed go', use: 'Putting it into the box', rename: 'Renaming', 'mask.open': 'Looking for its subject',
  };
  let gone = false; // Gradio lost the program: it passes nothing on any more, and loads the page anew when the program is back
  // A line of its own in each place (status, concepts-status, mix-status, ...); no handler writes to it.
  const tell = (place, words, fault = false) => {
    if (gone && !fault) { reason().then((why) => tell(place, why, true)); return; }
    const line = document.getElementById(place) || (words && document.getElementById('status')); // what is to be told of a dialog that is not open
    if (!line) return;
    line.textContent = words;
    line.classList.toggle('failed', fault && words !== '');
  };
  const say = (words) => tell('status', words);
  const store = (where, name, value) => { try { where().setItem(name, JSON.stringify(value)); } catch { /* private window, or full */ } };
  const stored = (where, name) => { try { return JSON.parse(where().getItem(name)); } catch { return null; } };
  const here = () => window.sessionStorage; // of this tab
  const always = () => window.localStorage;
  const open = () => document.getElementById('desk')?.dataset.open || ''; // the column that lies over the chat
  const slide = (side) => { document.getElementById('desk').dataset.open = open() === side ? '' : side; };

  const dark = (on) => document.body.classList.toggle('dark', on);

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

  // A key that an input method takes (Enter to confirm a word) is no key of the page, whoever listens.
  window.addEventListener('keydown', (event) => { if (event.isComposing || event.keyCode === 229) event.stopImmediatePropagation(); }, true);

  // The second click of a double click asks for nothing: what it would hit may have become another thing, like Stop in place of Send.
  window.addEventListener('click', (event) => {
    if (event.isTrusted && event.detail > 1 && event.target.closest?.('button, .act, [data-act]')) { event.preventDefault(); event.stopImmediatePropagation(); }
  }, true);

  // A window that is closed or reloaded says so: the program need not hold its widgets any longer.
  let hash = '';
  window.addEventListener('pagehide', (event) => { if (hash && !event.persisted) navigator.sendBeacon(`left?session_hash=${hash}`); });

  // What comes into the box, a file or one of the page's pictures: words typed meanwhile stay, and what is sent meanwhile goes when it is there, never without.
  // So does what is sent while another conversation is being opened: it belongs in that one.
  const moves = ['new', 'open', 'delete', 'restore', 'subject', 'use'];
  const due = { pictures: 0, moves: 0 };
  const coming = () => due.pictures + due.moves > 0;
  let typed = null, held = false, lost = '', place = 'status', begun = () => {}, look = () => {}, files = 0;
  const inside = () => document.querySelectorAll('#box .thumbnail-item').length;
  const came = (what, there = () => true, tries = 30) => setTimeout(() => { // Gradio puts it in a little later
    if (!there() && tries) { came(what, there, tries - 1); return; }
    due[what] = Math.max(0, due[what] - 1);
    const words = document.querySelector('#box textarea');
    if (typed !== null && words.value !== typed) { words.value = typed; words.dispatchEvent(new Event('input', { bubbles: true })); }
    if (coming()) return;
    if (what === 'pictures' && !held && inside()) look(); // what is no picture is said at once
    typed = null;
    if (held && !lost) setTimeout(() => document.querySelector('#box .submit-button')?.click(), 50);
    held = false;
  }, 100);
  const sends = (event) => {
    held = coming();
    if (!due.pictures) lost = '';
    missing = false;
    if (lost) tell('status', lost, true); // it failed a moment ago: this click came before anyone could read so
    else say(!held ? 'Sending' : due.pictures ? 'Waiting for the picture to arrive' : 'Sending when this is done');
    if (!held) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  };
  // Gradio is silent about an upload that fails, and sends without one that it has not begun.
  const fetched = window.fetch.bind(window);
  window.fetch = async (...given) => {
    const address = String(given[0]?.url || given[0]);
    if (/\/queue\/join(\?|$)/.test(address)) hash = /"session_hash":"(\w+)"/.exec(given[1]?.body)?.[1] || hash;
    if (!/\/upload(\?|$)/.test(address)) return fetched(...given);
    const where = place, before = inside();
    if (where === 'status') due.pictures += 1;
    begun();
    try {
      const answer = await fetched(...given);
      lost = answer.ok ? '' : answer.status === 413 ? 'This file is larger than the way to this page lets through. Save a smaller copy of it.'
        : 'The file did not arrive. Add it again.';
      return answer;
    } catch (error) {
      lost = 'The file did not arrive. Add it again.';
      throw error;
    } finally {
      const there = lost ? undefined : () => inside() > before;
      if (lost) tell(where, lost, true);
      if (where === 'status') came('pictures', there);
    }
  };
  // What is added, wherever: a file over the limit is said before it is sent, since Gradio drops it without a word.
  const adding = (event) => {
    const files = [...(event.target.files || event.dataTransfer?.files || event.clipboardData?.files || [])];
    if (!files.length) return;
    const panel = event.target.closest?.('.tabitem')?.id.replace('panel-', '');
    place = panel ? `${panel}-status` : 'status';
    lost = '';
    const limit = window.gradio_config?.max_file_size || Infinity;
    const large = files.find((file) => file.size > limit);
    if (!large) {
      tell(place, '');
      begun();
      if (place !== 'status') return;
      due.pictures += 1;
      const late = setTimeout(() => begun(), 2000); // dropped where nothing takes it
      begun = () => { clearTimeout(late); begun = () => {}; came('pictures'); };
      return;
    }
    event.preventDefault();
    event.stopImmediatePropagation();
    if (event.target.files) event.target.value = '';
    const size = (bytes) => `${Math.ceil(bytes / 2 ** 20)} MB`;
    tell(place, `${large.name} has ${size(large.size)}; the limit is ${size(limit)}. Save a smaller copy of it.`, true);
  };
  for (const kind of ['change', 'drop', 'paste']) window.addEventListener(kind, adding, true);

  // Something failed before or beside our handlers: Gradio refused a file, the program ended or was started again.
  const reason = async () => {
    const { root, api_prefix: prefix, app_id: id } = window.gradio_config;
    try {
      const now = (await (await fetched(`${root}${prefix || ''}/app_id`)).json()).app_id;
      if (now !== id) return 'The program was started again meanwhile. Reload the page; what you wrote stays.';
    } catch {
      return 'The program does not answer. What you wrote stays; try again when it runs.';
    }
    return document.querySelector('#box .thumbnail-item') ? 'A picture in the box is not there any more. Take it away, add it again, and send.'
      : 'This did not reach the program. Reload the page and try again; what you wrote stays.';
  };

  // A picture whose file is lost is said.
  document.addEventListener('error', ({ target }) => {
    if (!target.src?.includes('/pictures/')) return;
    const said = document.createElement('span');
    said.className = 'quiet';
    said.textContent = 'This picture could not be loaded.';
    target.replaceWith(said);
  }, true);

  // Conversations are pages of the browser's history.
  let wanted = null; // the one that Back asked for
  window.addEventListener('popstate', () => {
    wanted = new URL(window.location).searchParams.get('c') || '';
    press(wanted ? 'open' : 'new', wanted);
  });
  const press = (act, arg, fields = {}) => { // as if a button had been there
    const form = document.createElement('div');
    form.dataset.form = '';
    for (const [name, value] of Object.entries(fields)) {
      const field = document.createElement('input');
      field.type = 'hidden';
      field.dataset.field = name;
      field.value = value;
      form.append(field);
    }
    const button = document.createElement('button');
    button.dataset.act = act;
    button.dataset.arg = arg;
    form.append(button);
    form.hidden = true;
    document.body.append(form);
    button.click();
    form.remove();
  };

  // Renaming in place.
  document.addEventListener('click', (event) => {
    const entry = event.target.closest('[data-rename]')?.closest('.entry');
    if (!entry) return;
    const title = entry.querySelector('.title'), field = document.createElement('input');
    field.type = 'text';
    field.maxLength = 80;
    field.value = title.textContent;
    field.setAttribute('aria-label', 'New title');
    let over = false;
    const end = (keep) => {
      if (over) return;
      over = true;
      const words = field.value.trim();
      if (keep && words && words !== title.textContent) { press('rename', entry.dataset.id, { title: words }); title.textContent = words; }
      field.remove();
    };
    field.addEventListener('keydown', (key) => { if (key.key === 'Enter' || key.key === 'Escape') { key.preventDefault(); key.stopPropagation(); end(key.key === 'Enter'); } });
    field.addEventListener('blur', () => end(true));
    entry.querySelector('.to').after(field); // not in it: what is typed in a button presses it
    field.focus();
    field.select();
  });

  // Other windows on the same conversations look again when something was done here, and a window that comes back to the front does.
  let glance = () => {};
  const others = 'BroadcastChannel' in window ? new BroadcastChannel('cafe') : null;
  others?.addEventListener('message', () => glance());
  document.addEventListener('visibilitychange', () => { if (document.visibilityState === 'visible') glance(); });

  // Gradio breaks its own streams off when a page is left, and writes that, and what comes of it, to the console as errors.
  const { error } = console;
  let left = false;
  console.error = (...what) => {
    if (what[0]?.name === 'AbortError') {
      left = true;
      setTimeout(() => { left = false; }, 3000); // if it is not left after all
    }
    if (!left) error.apply(console, what);
  };

  const restored = new Set(); // settings that were read: what a component says before that is no wish
  let missing = false; // a picture was lost that stood beside words not sent since

  document.addEventListener('click', (event) => {
    const pressed = read(event.target);
    if (pressed) {
      if (event.isTrusted) wanted = null;
      say(doing[pressed.act] || (pressed.panel ? '' : 'Working')); // a panel says what it does in its own place
      if (moves.includes(pressed.act)) due.moves += 1;
      if (open() === 'left' && pressed.act !== 'delete') slide('left');
    }
    const panel = event.target.closest('[data-panel]')?.dataset.panel || (event.target.closest('.opens') && pressed?.panel);
    if (panel) show(panel);
    const tab = event.target.closest('#panels [role=tab]');
    if (tab) store(here, 'cafe-tab', tab.id); // it is open again when the page is
    const ui = event.target.closest('[data-ui]');
    if (ui) {
      const what = ui.dataset.ui;
      if (what === 'theme') {
        const on = !document.body.classList.contains('dark');
        dark(on);
        store(always, 'cafe-theme', on ? 'dark' : 'light');
      } else if (what === 'close') slide(open());
      else slide(what);
    }
    if (event.target.closest('#box .submit-button')) sends(event);
    if (event.target.closest('#box .stop-button')) say('Stopping');
  }, true);
  document.addEventListener('input', (event) => {
    if (!event.target.closest('#box textarea')) return;
    if (coming()) typed = event.target.value;
    if (gone) store(here, 'cafe-draft', { files: [], ...stored(here, 'cafe-draft'), text: event.target.value, missing });
  });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && open()) slide(open());
    if (event.key === 'Enter' && !event.shiftKey && event.target.closest('#box textarea')) sends(event);
  }, true);

  new MutationObserver(() => {
    const line = document.getElementById('status');
    if (line?.textContent === 'Stopping' && !document.querySelector('#box .stop-button')) say('');
    if (!gone && [...document.querySelectorAll('[data-testid=toast-body]')].some((toast) => toast.textContent.includes('Connection to the server was lost'))) {
      gone = true; // for good: a toast that is closed brings nothing back
      say('');
    }
    // Words run as their first letter does, also while they are typed; pictures are known by what is in them, not by their names.
    document.querySelectorAll('textarea:not([dir=auto]), input[type=text]:not([dir=auto])').forEach((field) => { field.dir = 'auto'; });
    document.querySelectorAll('#box input[type=file]:not([accept]), #concept-drop input[type=file]:not([accept])').forEach((input) => {
      input.accept = 'image/*'; // a hint for the window that chooses; a phone then hands its photos over as JPEG
    });
    // Gradio labels each message with its whole markup; a screen reader would read it all out.
    document.querySelectorAll('#chat [data-testid][aria-label]').forEach((message) => {
      const name = message.dataset.testid === 'user' ? 'You' : 'CAFE';
      if (message.getAttribute('aria-label') !== name) message.setAttribute('aria-label', name);
    });
  }).observe(document.documentElement, { childList: true, subtree: true });

  return {
    read,
    show,
    tell,
    idle: () => { if (!held && !document.querySelector('#status.failed')) say(''); },
    failed: async (line) => { due.pictures = due.moves = 0; held = false; tell(line, await reason(), true); },
    glancing: (trigger) => { glance = trigger; },
    looking: (trigger) => { look = trigger; },
    done: (pressed) => { if (pressed && due.moves) came('moves'); others?.postMessage(''); },
    keep: (name, values) => { if (restored.has(name)) store(always, `cafe-${name}`, values); },
    kept: (name, count) => {
      restored.add(name);
      const values = stored(always, `cafe-${name}`);
      return Array.isArray(values) && values.length === count ? values.map((value) => value ?? undefined) : Array(count).fill(undefined);
    },
    draft: (value) => {
      if (!restored.has('draft')) return;
      const count = value?.files?.length || 0;
      if (count) missing = false; // another was added
      if (count < files && document.querySelector('#notice .fault')) look(); // what was said of one that is gone, goes
      files = count;
      store(here, 'cafe-draft', { ...value, missing });
    },
    drafted: async () => { // the words, and those of the pictures that the server still has
      const value = stored(here, 'cafe-draft');
      restored.add('draft');
      if (!value?.text && !value?.files?.length) return [undefined];
      const there = await Promise.all((value.files || []).map((file) => fetched(file.url, { method: 'HEAD' }).then((answer) => answer.ok, () => false)));
      missing = Boolean(value.missing) || there.includes(false); // said again when the page is loaded again
      if (missing) tell('status', 'A picture that was in the box is not there any more. Add it again.', true);
      return [{ text: value.text || '', files: value.files.filter((_, n) => there[n]) }];
    },
    here: () => {
      const theme = stored(always, 'cafe-theme');
      if (theme) dark(theme === 'dark');
      document.getElementById('desk').classList.toggle('framed', window.self !== window.top);
      document.getElementById(stored(here, 'cafe-tab'))?.click();
      return [new URL(window.location).searchParams.get('c') || ''];
    },
    address: (id) => {
      const url = new URL(window.location);
      const before = url.searchParams.get('c') || '';
      if (wanted !== null) { if (wanted === id) wanted = null; return; }
      if (id === before) return;
      if (id) url.searchParams.set('c', id); else url.searchParams.delete('c');
      window.history.pushState(null, '', url);
    },
  };
})();
