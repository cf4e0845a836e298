// Concepts: <name> into the message box, with completion; strengths; pasting pictures; marking the subject with a brush.
window.cafeConcepts = window.cafeConcepts || (() => {
  const at = (selector) => document.querySelector(selector);
  const write = (field, value) => { field.value = value; field.dispatchEvent(new Event('input', { bubbles: true })); };
  const box = () => at('#box textarea');
  const names = () => (at('[data-names]')?.dataset.names || '').split(',').filter(Boolean);

  // Put text into a field where the cursor is, in place of what is being typed from `start` on.
  const insert = (text, start, field = box()) => {
    if (!field) return;
    const from = start ?? field.selectionStart ?? field.value.length;
    const before = field.value.slice(0, from);
    const after = field.value.slice(field.selectionEnd ?? from);
    const gap = before && !/[\s(]$/.test(before) ? ' ' : '';
    const end = /^[\s,.;:!?)]/.test(after) ? '' : ' ';
    write(field, before + gap + text + end + after);
    field.focus();
    field.selectionStart = field.selectionEnd = (before + gap + text + end).length;
  };

  // The same, unless it is there already; the field may be in a panel that is only being opened.
  const insertOnce = (text, selector, tries = 50) => {
    const field = at(selector);
    if (!field && tries) setTimeout(() => insertOnce(text, selector, tries - 1), 100);
    else if (field && !field.value.includes(text)) insert(text, undefined, field);
  };

  // completion
  let menu, chosen = 0, start = -1;
  const close = () => { menu?.remove(); menu = null; };
  const fits = () => {
    const field = box();
    const typed = /<([^<>\s]*)$/.exec(field.value.slice(0, field.selectionStart));
    if (!typed) return [];
    start = typed.index;
    return names().filter((name) => name.toLowerCase().startsWith(typed[1].toLowerCase())).slice(0, 8);
  };
  const offer = () => {
    const found = document.activeElement === box() ? fits() : [];
    if (!found.length) { close(); return; }
    if (!menu) {
      menu = document.createElement('div');
      menu.id = 'complete';
      menu.setAttribute('role', 'listbox');
      at('#box').append(menu);
    }
    chosen = Math.min(chosen, found.length - 1);
    menu.replaceChildren(...found.map((name, n) => {
      const one = document.createElement('button');
      one.type = 'button';
      one.textContent = `<${name}>`;
      one.setAttribute('role', 'option');
      one.setAttribute('aria-selected', n === chosen);
      one.addEventListener('mousedown', (event) => { event.preventDefault(); insert(`<${name}>`, start); close(); });
      return one;
    }));
  };
  document.addEventListener('input', (event) => { if (event.target === box()) { chosen = 0; offer(); } });
  document.addEventListener('focusout', (event) => { if (event.target === box()) close(); });
  document.addEventListener('keydown', (event) => {
    if (!menu || event.target !== box()) return;
    const many = menu.children.length;
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') chosen = (chosen + (event.key === 'ArrowDown' ? 1 : many - 1)) % many;
    else if (event.key === 'Enter' || event.key === 'Tab') { insert(menu.children[chosen].textContent, start); close(); }
    else if (event.key === 'Escape') close();
    else return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (menu) offer();
  }, true);

  // strengths, kept over a new drawing of the shelf
  const strengths = {};
  const showStrengths = () => {
    const kept = at('#concept-strengths textarea, #concept-strengths input');
    if (kept?.value && !Object.keys(strengths).length) try { Object.assign(strengths, JSON.parse(kept.value)); } catch { /* as usual */ }
    document.querySelectorAll('[data-strength]').forEach((slider) => {
    const value = strengths[slider.dataset.strength] ?? 1;
    if (Number(slider.value) !== value) slider.value = value;
    const said = slider.nextElementSibling;
    const text = Number(value).toFixed(1);
    if (said && said.textContent !== text) said.textContent = text;
    });
  };
  document.addEventListener('input', (event) => {
    const name = event.target.dataset?.strength;
    if (!name) return;
    strengths[name] = Number(event.target.value);
    showStrengths();
    const kept = at('#concept-strengths textarea, #concept-strengths input');
    if (kept) write(kept, JSON.stringify(strengths));
  });

  // pasting pictures while the panel is in front and no text field is
  document.addEventListener('paste', (event) => {
    const files = [...(event.clipboardData?.files || [])].filter((file) => file.type.startsWith('image/'));
    const field = at('#concept-drop input[type=file]');
    const writing = event.target.closest?.('textarea, input');
    if (!files.length || !field || !field.closest('#panel-concepts')?.offsetParent || writing) return;
    const all = new DataTransfer();
    files.forEach((file) => all.items.add(file));
    field.files = all.files;
    field.dispatchEvent(new Event('change', { bubbles: true }));
    event.preventDefault();
  }, true);

  document.addEventListener('click', (event) => {
    const put = event.target.closest('[data-insert]');
    if (put?.dataset.into) insertOnce(put.dataset.insert, `#${put.dataset.into} textarea`);
    else if (put) insert(put.dataset.insert);
    const easel = event.target.closest('[data-paint]');
    if (easel) {
      window.cafe.paint.open({ photo: easel.dataset.src, mask: easel.dataset.mask, act: 'concepts.mask', arg: easel.dataset.paint, again: 'Take away',
        words: 'Paint over the subject. What is not painted hardly counts.' });
    }
    if (event.target.closest('[data-act="concepts.try"]')) {
      setTimeout(() => at('#concept-tries')?.scrollIntoView({ block: 'nearest', behavior: 'smooth' }), 500);
    }
  });
  new MutationObserver(showStrengths).observe(document.documentElement, { childList: true, subtree: true });
  return { insert };
})();
