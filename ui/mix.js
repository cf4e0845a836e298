// The mixing board: sliders that are let go, pictures that are dropped, pasted or chosen. Everything else is decided on the
// server. `trigger` and `upload` are gradio's, of the component that carries what happens here.
window.cafeMix = window.cafeMix || ((trigger, upload) => {
  const fieldsOf = (element) => {
    const fields = {};
    element.closest('[data-form]')?.querySelectorAll('[data-field]').forEach((f) => { fields[f.dataset.field] = f.value; });
    return fields;
  };
  const tell = (words) => window.cafe.tell('mix-status', words);

  const put = async (files, where) => {
    if (!files.length) return;
    window.cafe.show('mix');
    tell(files.length > 1 ? 'Adding the pictures' : 'Adding the picture');
    try {
      const paths = [];
      for (const file of files) paths.push((await upload(file)).path);
      trigger('click', { act: 'mix.put', arg: where, fields: { paths: JSON.stringify(paths) } });
    } catch { /* page.js has said why */ }
  };

  // A PNG that was drawn on a board says so in a text chunk.
  const carriesBoard = async (file) => {
    if (file.type !== 'image/png') return false;
    const head = new TextDecoder('latin1').decode(await file.slice(0, 1 << 22).arrayBuffer());
    return /(iTXt|tEXt)assistant/.test(head) && head.includes('"board":');
  };

  document.addEventListener('change', (event) => {
    const chosen = event.target.closest('input[data-put]');
    if (chosen) { put([...chosen.files], chosen.dataset.put); chosen.value = ''; return; }
    const control = event.target.closest('[data-change^="mix."]');
    if (control) { tell('Drawing'); trigger('click', { act: control.dataset.change, arg: control.value, fields: fieldsOf(control) }); }
  });
  document.addEventListener('input', (event) => {
    const shown = event.target.closest('.mix-form label')?.querySelector('output');
    if (shown && event.target.type === 'range') shown.textContent = Number(event.target.value).toFixed(event.target.max > 1 ? 1 : 2);
  });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && event.target.matches('#mix-form input[type=text]')) {
      event.preventDefault();
      trigger('click', { act: 'mix.imagine', arg: '', fields: fieldsOf(event.target) });
    }
  });

  // dropping: on the board; a picture of this page by its address; a picture that carries a board, anywhere
  const zone = (event) => event.target.closest?.('[data-drop]') || (event.target.closest?.('#panel-mix, #mix-desk') ? document.body : null);
  const light = (on) => document.querySelectorAll('[data-drop]').forEach((z) => z.classList.toggle('over', z === on));
  document.addEventListener('dragover', (event) => {
    const over = zone(event);
    light(over);
    if (over || (event.dataTransfer.types.includes('Files') && !event.target.closest?.('#box'))) event.preventDefault();
  });
  document.addEventListener('dragend', () => light(null));
  document.addEventListener('drop', async (event) => {
    const over = zone(event), files = [...event.dataTransfer.files], where = over?.dataset.drop || 'auto';
    light(null);
    const link = event.dataTransfer.getData('text/uri-list') || event.dataTransfer.getData('text/plain');
    const found = /pictures\/([0-9a-f]{64})|subjects\/(\d+)\.png/.exec(link);
    if (over && found) { // before files: a browser may offer a dragged picture as both
      event.preventDefault();
      trigger('click', { act: 'mix.bring', arg: `${where === 'auto' ? 'reference' : where}.${found[1] || `ready${found[2]}`}`, fields: {} });
      return;
    }
    if (!files.length) return;
    if (over) { event.preventDefault(); put(files, where); return; }
    const box = event.target.closest?.('#box');
    if (!box) event.preventDefault(); // or the browser leaves the page for the picture
    if (files.length === 1 && await carriesBoard(files[0])) { put(files, 'auto'); return; }
    if (!box) {
      const input = document.querySelector('#box input[type=file]');
      const carried = new DataTransfer();
      files.forEach((file) => carried.items.add(file));
      if (input) { input.files = carried.files; input.dispatchEvent(new Event('change', { bubbles: true })); }
    }
  });
  document.addEventListener('paste', (event) => {
    const files = [...(event.clipboardData?.files || [])];
    if (files.length && !event.target.closest?.('#box') && document.querySelector('#mix-desk')?.offsetParent) { event.preventDefault(); put(files, 'auto'); }
  });
});
window.cafeMixIdle = () => { if (!document.querySelector('#mix-status.failed')) window.cafe.tell('mix-status', ''); };
