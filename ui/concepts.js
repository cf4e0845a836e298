// Concepts: <name> into the message box, with completion; strengths; pasting pictures; marking the subject with a brush.
window.cafeConcepts = window.cafeConcepts || (() => {
  const at = (selector) => document.querySelector(selector);
  const write = (field, value) => { field.value = value; field.dispatchEvent(new Event('input', { bubbles: true })); };
  const box = () => at('#box textarea');
  const names = () => (at('[data-names]')?.dataset.names || '').split(',').filter(Boolean);

  // Put text into the message box where the cursor is, in place of what is being typed from `start` on.
  const insert = (text, start) => {
    const field = box();
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

  // marking where the subject is
  const paint = (number, address) => {
    const dialog = document.createElement('dialog');
    dialog.id = 'paint';
    dialog.innerHTML = `<p>Paint over the subject. What is not painted hardly counts.</p>
<div class="easel"><img alt="" src="${address}"><canvas width="256" height="256" aria-label="Brush"></canvas></div>
<div data-form><input type="hidden" data-field="painted"><label>Brush <input type="range" min="6" max="60" value="26"></label>
<span class="gap"></span><button type="button" class="act" data-close>Cancel</button>
<button type="button" class="act" data-act="concepts.mask" data-arg="${number}" data-clear>Take away</button>
<button type="button" class="act on" data-act="concepts.mask" data-arg="${number}" data-keep>Keep</button></div>`;
    document.body.append(dialog);
    const canvas = dialog.querySelector('canvas');
    const image = dialog.querySelector('img');
    const pen = canvas.getContext('2d');
    const kept = dialog.querySelector('[data-field]');
    image.decode().then(() => { canvas.width = image.naturalWidth; canvas.height = image.naturalHeight; }).catch(() => {});
    let last = null;
    const spot = (event) => {
      const r = canvas.getBoundingClientRect();
      return [(event.clientX - r.left) * canvas.width / r.width, (event.clientY - r.top) * canvas.height / r.height];
    };
    const stroke = (event) => {
      const [x, y] = spot(event);
      pen.strokeStyle = '#fff';
      pen.lineCap = 'round';
      pen.lineWidth = Number(dialog.querySelector('input[type=range]').value);
      pen.beginPath();
      pen.moveTo(...(last || [x, y]));
      pen.lineTo(x, y);
      pen.stroke();
      last = [x, y];
    };
    canvas.addEventListener('pointerdown', (event) => { canvas.setPointerCapture(event.pointerId); stroke(event); });
    canvas.addEventListener('pointermove', (event) => { if (last) stroke(event); });
    canvas.addEventListener('pointerup', () => { last = null; });
    dialog.addEventListener('click', (event) => { // before the courier's listener, which is the document's
      const { dataset } = event.target;
      if ('keep' in dataset) {
        const flat = document.createElement('canvas');
        flat.width = canvas.width;
        flat.height = canvas.height;
        const ground = flat.getContext('2d');
        ground.fillStyle = '#000';
        ground.fillRect(0, 0, flat.width, flat.height);
        ground.drawImage(canvas, 0, 0);
        kept.value = flat.toDataURL('image/png');
      }
      if ('keep' in dataset || 'clear' in dataset || 'close' in dataset) setTimeout(() => dialog.close(), 0);
    });
    dialog.addEventListener('close', () => dialog.remove());
    dialog.showModal();
  };

  document.addEventListener('click', (event) => {
    const put = event.target.closest('[data-insert]');
    if (put) insert(put.dataset.insert);
    const easel = event.target.closest('[data-paint]');
    if (easel) paint(easel.dataset.paint, easel.dataset.src);
    if (event.target.closest('[data-act="concepts.try"]')) {
      setTimeout(() => at('#concept-tries')?.scrollIntoView({ block: 'nearest', behavior: 'smooth' }), 500);
    }
  });
  new MutationObserver(showStrengths).observe(document.documentElement, { childList: true, subtree: true });
  return { insert };
})();
