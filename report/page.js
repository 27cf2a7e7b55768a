'use strict';

// Tables: a click on a heading sorts by that column, a second click reverses the order.
for (const th of document.querySelectorAll('table.sortable th')) {
  th.tabIndex = 0;
  const sort = () => {
    const body = th.closest('table').tBodies[0], column = th.cellIndex;
    const text = row => row.cells[column].textContent;
    // 3.63G is more than 282M.
    const unit = row => ({ G: 1e9, M: 1e6 })[/^[\d.,]+([GM])\b/.exec(text(row))?.[1]] ?? 1;
    const number = row => parseFloat(text(row).replaceAll(',', '')) * unit(row);
    const up = th.ariaSort !== 'ascending';
    const order = (p, q) => {
      const a = number(p), b = number(q);
      return (isNaN(a) || isNaN(b) ? text(p).localeCompare(text(q)) : a - b) * (up ? 1 : -1);
    };
    body.append(...[...body.rows].sort(order));
    for (const other of th.closest('tr').cells) other.ariaSort = null;
    th.ariaSort = up ? 'ascending' : 'descending';
  };
  th.onclick = sort;
  th.onkeydown = event => {
    if (event.key !== 'Enter' && event.key !== ' ') return;
    event.preventDefault();
    sort();
  };
}

// ---------------------------------------------------------------------------------------------------
// A frame holds an image. Its partner, {src, label}, lies under it: seen while the frame is held, and
// subtracted from the image while the frame shows the difference.

const arm = (frame, partner) => {
  if (!partner || frame.dataset.partner) return;
  frame.dataset.partner = partner.label;
  const under = new Image();
  under.className = 'under';
  under.loading = 'lazy';
  under.alt = '';
  under.draggable = false;
  under.src = partner.src;
  frame.prepend(under);
};
const flip = (frame, held) => {
  if (!frame.dataset.partner || frame.classList.contains('held') === held) return;
  frame.classList.toggle('held', held);
  frame.dispatchEvent(new Event('flip', { bubbles: true }));
};
const release = () => { for (const frame of document.querySelectorAll('.frame.held')) flip(frame, false) };
window.addEventListener('blur', release);

// ---------------------------------------------------------------------------------------------------
// The viewer: one image as large as the window, alone or beside the other columns. It shows a list of
// items {name, home, cells: [{label, src, alt, note, partner}]}.

const viewer = (() => {
  const dialog = document.createElement('dialog');
  dialog.className = 'viewer';
  dialog.tabIndex = -1;
  dialog.setAttribute('aria-label', 'image, enlarged');
  dialog.innerHTML = `
    <div class="head"><b></b><span class="place"></span><span class="said" role="status"></span>
      <span class="end"><button type="button" class="back" aria-label="previous image">←</button>
      <button type="button" class="next" aria-label="next image">→</button>
      <button type="button" class="close" aria-label="close">✕</button></span></div>
    <div class="tools"><span class="columns tools"></span>
      <button type="button" class="hold"></button>
      <button type="button" class="differences" aria-pressed="false" aria-keyshortcuts="d">difference</button>
      <button type="button" class="gain" aria-label="amplification of the difference">×4</button>
      </div>
    <div class="stage"></div>
    <p class="keys"></p>`;
  document.body.append(dialog);
  const $ = selector => dialog.querySelector(selector), stage = $('.stage');
  const gains = [1, 4, 16];
  let items = [], tall = false, at = 0, shown = -1, differs = false, gain = 1, holding = false;

  const frames = () => [...stage.querySelectorAll('.frame')];
  const seen = () => frames().filter(frame => frame.offsetParent && frame.dataset.partner);
  // What each visible image is at the moment, in its caption and for screen readers.
  const say = () => {
    const words = frames().map(frame => {
      const { label, partner } = frame.dataset, held = frame.classList.contains('held');
      const text = held ? partner : frame.classList.contains('differs') ? `difference of ${label} to ${partner}, ×${gains[gain]}` : label;
      frame.parentNode.querySelector('figcaption a').textContent = text;
      return text;
    });
    $('.said').textContent = shown < 0 ? '' : words[shown];
    const partners = seen(), partner = partners[0]?.dataset.partner;
    for (const name of ['.hold', '.differences']) $(name).classList.toggle('hidden', !partners.length);
    $('.gain').classList.toggle('hidden', !(partners.length && differs));
    $('.hold').textContent = `hold to see ${partner}`;
    $('.differences').textContent = `difference to ${partner}`;
    $('.gain').textContent = `×${gains[gain]}`;
    $('.differences').ariaPressed = String(differs);
    $('.keys').textContent = ['← → image', items[at]?.cells.length > 1 ? '↑ ↓ column' : '',
      partners.length ? 'space flips, d difference' : '', 'Esc closes'].filter(Boolean).join(' · ');
  };
  const one = column => {
    shown = column;
    stage.classList.toggle('one', column >= 0);
    stage.classList.toggle('tall', tall);
    [...stage.children].forEach((figure, index) => figure.classList.toggle('shown', index === column));
    [...$('.columns').children].forEach((button, index) => { button.ariaPressed = String(index === column + 1) });
    say();
  };
  const difference = on => {
    differs = on;
    stage.style.setProperty('--gain', gains[gain]);
    for (const frame of frames()) frame.classList.toggle('differs', on && 'partner' in frame.dataset);
    say();
  };
  const hold = on => {
    holding = on;
    for (const frame of seen()) flip(frame, on);
  };
  const figureOf = (cell, column) => {
    const figure = document.createElement('figure'), caption = document.createElement('figcaption');
    const link = document.createElement('a'), frame = document.createElement('div'), image = new Image();
    image.onload = () => {
      const { naturalWidth: width, naturalHeight: height } = image;
      frame.style.setProperty('--aspect', width / height);
      if (column === 0) stage.style.setProperty('--natural', `${width}px`);
      // Few pixels are shown as they are; smoothing would hide what differs.
      frame.classList.toggle('pixels', Math.max(width, height) <= 512);
    };
    image.src = link.href = cell.src;
    image.alt = cell.alt;
    image.draggable = false;
    link.target = '_blank';
    frame.className = 'frame';
    frame.dataset.label = cell.label;
    frame.append(image);
    arm(frame, cell.partner);
    caption.append(link, cell.note ? `  ${cell.note}` : '');
    figure.append(caption, frame);
    return figure;
  };
  const show = index => {
    at = Math.max(0, Math.min(items.length - 1, index));
    const { name, cells } = items[at];
    stage.replaceChildren(...cells.map(figureOf));
    const columns = cells.length > 1 ? ['all', ...cells.map(cell => cell.label)] : [];
    $('.columns').replaceChildren(...columns.map((label, column) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = label;
      button.onclick = () => one(column - 1);
      return button;
    }));
    $('b').textContent = name;
    $('.place').textContent = `${at + 1} of ${items.length}`;
    stage.scrollTop = 0;
    difference(differs);
    one(cells.length > 1 ? shown : 0);
    if (holding) hold(true);
    for (const near of [items[at - 1], items[at + 1]]) { // preload the neighbours
      for (const cell of near?.cells ?? []) new Image().src = cell.src;
    }
  };
  const across = step => {
    const count = items[at].cells.length + 1;
    if (count > 2) one((shown + 1 + step + count) % count - 1);
  };
  const keys = {
    ArrowRight: () => show(at + 1), ArrowLeft: () => show(at - 1), Home: () => show(0), End: () => show(items.length - 1),
    ArrowDown: () => across(1), ArrowUp: () => across(-1), d: () => difference(!differs), D: () => difference(!differs),
  };
  const isButton = event => event.target.closest('button') && !event.target.closest('.hold');
  dialog.addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === ' ' && !isButton(event)) {
      event.preventDefault();
      hold(true);
    } else if (keys[event.key]) {
      event.preventDefault();
      keys[event.key]();
    }
  });
  dialog.addEventListener('keyup', event => {
    if (event.key !== ' ' || !holding) return;
    event.preventDefault();
    hold(false);
  });
  const press = event => {
    const frame = event.target.closest('.frame');
    if (event.button || !(frame || event.target.closest('.hold'))) return;
    if (frame) flip(frame, true); else hold(true);
  };
  stage.addEventListener('pointerdown', press);
  $('.hold').addEventListener('pointerdown', press);
  const letGo = () => { holding = false; release() };
  for (const name of ['pointerup', 'pointercancel']) window.addEventListener(name, letGo);
  stage.addEventListener('contextmenu', event => { if (event.target.closest('.frame.held')) event.preventDefault() });
  stage.addEventListener('flip', say);
  $('.differences').onclick = () => difference(!differs);
  $('.gain').onclick = () => { gain = (gain + 1) % gains.length; difference(differs) };
  $('.back').onclick = () => show(at - 1);
  $('.next').onclick = () => show(at + 1);
  $('.close').onclick = () => dialog.close();
  // After a click the keys act on the image again, not on the button.
  dialog.addEventListener('click', event => { if (event.detail && event.target.closest('button')) dialog.focus() });
  dialog.addEventListener('close', () => {
    holding = false;
    const home = items[at].home;
    stage.replaceChildren();
    home?.scrollIntoView({ block: 'nearest' });
    home?.focus({ preventScroll: true });
  });
  return {
    get open() { return dialog.open },
    show(list, index, column, high = false, difference = false) {
      items = list;
      shown = column;
      tall = high;
      differs = difference;
      dialog.showModal();
      dialog.focus(); // rather than its first button
      show(index);
    },
  };
})();

// ---------------------------------------------------------------------------------------------------
// Large pictures: their links open the viewer. While held, one flips to the picture it is compared with.

const openPicture = link => {
  const box = link.closest('.pictures') ?? document.querySelector('.pictures');
  const links = [...box.querySelectorAll('a.picture')];
  const compare = links.find(other => other.title === box.dataset.compare);
  const partner = compare && { src: compare.href, label: compare.title };
  const items = links.map(other => ({
    name: other.title,
    home: other,
    cells: [{ label: other.title, src: other.href, alt: other.title, note: '', partner: other === compare ? undefined : partner }],
  }));
  viewer.show(items, Math.max(0, links.findIndex(other => other.href === link.href)), 0, true);
};
document.addEventListener('click', event => {
  const link = event.target.closest('a.picture');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  openPicture(link);
});

// ---------------------------------------------------------------------------------------------------
// The gallery, where the page has one.

const gallery = document.querySelector('.rows');
if (gallery) {
  const columns = [...document.querySelectorAll('.row.head > div')].map(cell => ({ label: cell.textContent, role: cell.dataset.role }));
  const reference = columns.findIndex(column => column.role === 'reference');
  let rows = [...gallery.children];
  const byName = rows;

  // Sorting: the value of a choice is the column of the differences, negative for largest first.
  const sorter = document.querySelector('.gallery .tools select');
  const number = (row, column) => parseFloat(row.children[column].querySelector('figcaption').textContent);
  const sortRows = () => {
    const choice = Number(sorter.value), column = Math.abs(choice);
    if (choice) {
      const value = new Map(byName.map(row => [row, number(row, column) * Math.sign(choice)]));
      rows = [...byName].sort((p, q) => value.get(p) - value.get(q));
    } else rows = byName;
    gallery.replaceChildren(...rows);
  };
  if (sorter) {
    sorter.onchange = sortRows;
    if (sorter.value !== '0') sortRows(); // browsers keep the choice when they reload a page
  }

  const frameAt = (row, column) => row.children[column].querySelector('.frame');
  const place = frame => [frame.closest('.row'), [...frame.closest('.row').children].indexOf(frame.closest('figure'))];
  const partnerOf = (row, column) => columns[column].role === 'output' && reference >= 0
    ? { src: frameAt(row, reference).href, label: columns[reference].label } : undefined;
  const prepare = frame => arm(frame, partnerOf(...place(frame)));

  // The difference map of all rows at once.
  const button = document.querySelector('.gallery .differences');
  const difference = on => {
    button.ariaPressed = String(on);
    gallery.parentNode.classList.toggle('differing', on);
    for (const row of rows) {
      columns.forEach(({ role }, column) => {
        if (role !== 'output') return;
        const frame = frameAt(row, column);
        prepare(frame);
        frame.classList.toggle('differs', on);
      });
    }
  };
  if (button) button.onclick = () => difference(button.ariaPressed !== 'true');

  const open = (row, column) => {
    const items = rows.map(each => ({
      name: each.querySelector('.name').textContent,
      get home() { return frameAt(each, Math.max(0, column)) },
      get cells() {
        return columns.map(({ label }, index) => {
          const frame = frameAt(each, index), note = each.children[index].querySelector('figcaption');
          return {
            label, src: frame.href, alt: frame.querySelector('img:not(.under)').alt, partner: partnerOf(each, index),
            note: note ? `${note.title} ${note.textContent}` : '',
          };
        });
      },
    }));
    viewer.show(items, rows.indexOf(row), column, false, button?.ariaPressed === 'true');
  };

  // One image of the grid is a tab stop; arrow keys move it.
  const frames = gallery.querySelectorAll('.frame');
  for (const frame of frames) frame.tabIndex = -1;
  for (const name of gallery.querySelectorAll('.name')) name.tabIndex = -1;
  let stop = frames[0];
  if (stop) stop.tabIndex = 0;
  gallery.addEventListener('focusin', event => {
    const frame = event.target.closest('.frame');
    if (!frame) return;
    stop.tabIndex = -1;
    frame.tabIndex = 0;
    stop = frame;
    prepare(frame);
  });
  gallery.addEventListener('pointerover', event => { if (event.target.closest('.frame')) prepare(event.target.closest('.frame')) });

  const moves = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
  gallery.addEventListener('keydown', event => {
    const frame = event.target.closest('.frame');
    if (!frame || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === ' ') {
      event.preventDefault();
      flip(frame, true);
    } else if (moves[event.key]) {
      event.preventDefault();
      const [row, column] = place(frame), [down, right] = moves[event.key];
      const to = rows[rows.indexOf(row) + down];
      if (to?.children[column + right]) frameAt(to, column + right).focus();
    }
  });
  gallery.addEventListener('keyup', event => { if (event.key === ' ') release() });
  gallery.addEventListener('focusout', release);
  document.addEventListener('keydown', event => {
    if (viewer.open || !button || event.key.toLowerCase() !== 'd') return;
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, select')) return;
    difference(button.ariaPressed !== 'true');
  });

  // A short press enlarges, a longer one flips until it ends.
  let timer = 0, wasHeld = false;
  gallery.addEventListener('pointerdown', event => {
    const frame = event.target.closest('.frame');
    wasHeld = false;
    if (!frame || event.button) return;
    prepare(frame);
    timer = setTimeout(() => {
      wasHeld = 'partner' in frame.dataset;
      flip(frame, true);
    }, 180);
  });
  for (const name of ['pointerup', 'pointercancel']) window.addEventListener(name, () => {
    clearTimeout(timer);
    release();
    setTimeout(() => { wasHeld = false }); // after the click that ends a long press
  });
  gallery.addEventListener('dragstart', event => event.preventDefault());
  gallery.addEventListener('contextmenu', event => { if (wasHeld) event.preventDefault() });
  gallery.addEventListener('click', event => {
    const frame = event.target.closest('.frame'), name = event.target.closest('.name');
    if (!(frame || name) || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    if (name) open(name.closest('.row'), -1);
    else if (!wasHeld) open(...place(frame));
  });
}
