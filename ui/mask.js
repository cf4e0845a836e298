// One dialog in which a mask is painted over a photo: what is drawn of it (mask_dialog.py), or where a concept's subject is (concepts_panel.py).
window.cafe.paint = window.cafe.paint || (() => {
  const COLOUR = '#d63384', DEEP = 30; // of what is painted; strokes that can be undone
  const at = (name) => document.querySelector(`#paint ${name}`);

  // given: photo and mask, addresses (no mask: nothing is painted yet); words above; act and arg that it is kept by, and again, as the label of a
  // button that sends nothing painted; stays: open until `done` is told how it went.
  const open = (given) => {
    at('')?.close();
    const dialog = document.createElement('dialog');
    dialog.id = 'paint';
    dialog.innerHTML = `<p id="paint-words"></p><div class="easel"><img alt=""><canvas aria-label="The photo, painted with a pointer"></canvas></div>
<div class="acts"><button type="button" class="act on" data-pen="paint" aria-pressed="true">Paint</button><button type="button" class="act" data-pen="erase" aria-pressed="false">Erase</button>
<button type="button" class="act" data-pen="undo" disabled>Undo</button><label>Brush <input type="range" min="6" max="90" value="30"></label></div>
<div id="mask-status" class="fault" role="alert"></div><div class="acts" data-form><input type="hidden" data-field="painted"><button type="button" class="act on" data-keep>Keep</button>
<button type="button" class="act" data-empty></button><span class="gap"></span><button type="button" class="act" data-close>Close</button></div>`;
    dialog.setAttribute('aria-labelledby', 'paint-words');
    document.body.append(dialog);
    at('#paint-words').textContent = given.words;
    at('[data-empty]').textContent = given.again;
    for (const name of ['keep', 'empty']) Object.assign(at(`[data-${name}]`).dataset, { act: given.act, arg: given.arg });
    const canvas = at('canvas'), image = at('img'), undo = at('[data-pen=undo]'), pen = canvas.getContext('2d', { willReadFrequently: true }), before = [];
    const ready = async () => { // the canvas has the photo's shape, and at most 512 pixels a side
      image.src = given.photo;
      await image.decode();
      const [width, height] = [image.naturalWidth, image.naturalHeight], scale = Math.min(1, 512 / Math.max(width, height));
      Object.assign(canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
      Object.assign(at('.easel').style, { aspectRatio: `${width} / ${height}`, width: `min(100%, calc(52dvh * ${width / height}))` });
      if (given.mask) {
        const mask = new Image();
        mask.src = given.mask;
        await mask.decode();
        pen.drawImage(mask, 0, 0, canvas.width, canvas.height);
        const all = pen.getImageData(0, 0, canvas.width, canvas.height), rgb = [1, 3, 5].map((k) => parseInt(COLOUR.slice(k, k + 2), 16));
        for (let k = 0; k < all.data.length; k += 4) all.data.set([...rgb, all.data[k]], k);
        pen.putImageData(all, 0, 0);
      }
      dialog.dataset.ready = '';
    };
    ready().catch(() => { at('.fault').textContent = 'The photo could not be loaded. Close this, reload the page, and open it again.'; });
    let last = null;
    const stroke = (event) => {
      const box = canvas.getBoundingClientRect(), scale = canvas.width / box.width, spot = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
      Object.assign(pen, { strokeStyle: COLOUR, lineCap: 'round', lineWidth: at('input[type=range]').value * scale });
      pen.globalCompositeOperation = at('[data-pen=erase]').classList.contains('on') ? 'destination-out' : 'source-over';
      pen.beginPath();
      pen.moveTo(...(last || spot));
      pen.lineTo(...spot);
      pen.stroke();
      last = spot;
    };
    canvas.addEventListener('pointerdown', (event) => {
      if (!('ready' in dialog.dataset) || event.button) return;
      canvas.setPointerCapture(event.pointerId);
      before.push(pen.getImageData(0, 0, canvas.width, canvas.height));
      before.splice(0, before.length - DEEP);
      undo.disabled = false;
      stroke(event);
    });
    canvas.addEventListener('pointermove', (event) => { if (last) stroke(event); });
    for (const over of ['pointerup', 'pointercancel']) canvas.addEventListener(over, () => { last = null; });
    const flat = () => { // white where it is painted, on black
      const whole = document.createElement('canvas');
      Object.assign(whole, { width: canvas.width, height: canvas.height });
      const ground = whole.getContext('2d');
      ground.drawImage(canvas, 0, 0);
      for (const [how, colour] of [['source-in', '#fff'], ['destination-over', '#000']]) {
        ground.globalCompositeOperation = how;
        ground.fillStyle = colour;
        ground.fillRect(0, 0, whole.width, whole.height);
      }
      return whole.toDataURL('image/png');
    };
    dialog.addEventListener('click', ({ target: { dataset } }) => { // before the courier's listener, which is the document's
      if (dataset.pen === 'undo') { pen.putImageData(before.pop(), 0, 0); undo.disabled = !before.length; }
      else if (dataset.pen) for (const one of ['paint', 'erase']) {
        at(`[data-pen=${one}]`).classList.toggle('on', one === dataset.pen);
        at(`[data-pen=${one}]`).setAttribute('aria-pressed', one === dataset.pen);
      }
      at('[data-field]').value = 'keep' in dataset ? flat() : '';
      if ('close' in dataset || (dataset.act && !given.stays)) setTimeout(() => dialog.close(), 0);
    });
    dialog.addEventListener('close', () => dialog.remove());
    dialog.showModal();
  };
  const done = (problem) => { if (problem) at('.fault').textContent = problem; else at('')?.close(); };
  return { open, done };
})();
