'use strict';

// Tables: a click on a heading sorts by that column, a second click reverses the order.
for (const th of document.querySelectorAll('table.sortable th')) {
  th.tabIndex = 0;
  const sort = () => {
    const body = th.closest('table').tBodies[0], column = th.cellIndex;
    const text = row => row.cells[column].textContent, number = row => parseFloat(text(row).replaceAll(',', ''));
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
  th.onkeydown = event => { if (event.key === 'Enter') sort() };
}

// The gallery, where the page has one.
const gallery = document.querySelector('.rows');
if (gallery) {
  const dialog = document.querySelector('dialog'), stage = dialog.querySelector('.stage');
  const labels = [...document.querySelectorAll('.row.head > div')].map(cell => cell.textContent);
  let rows = [...gallery.children];
  const byName = rows;
  let at = 0, shown = -1; // the row in the dialog; the column that is shown alone, -1 = all columns

  // Sorting: the value of a choice is the column of the differences, negative for largest first.
  const sorter = document.querySelector('.bar select');
  const difference = (row, column) => parseFloat(row.children[column].querySelector('figcaption').textContent);
  const sortRows = () => {
    const choice = Number(sorter.value), column = Math.abs(choice);
    if (choice) {
      const value = new Map(byName.map(row => [row, difference(row, column) * Math.sign(choice)]));
      rows = [...byName].sort((p, q) => value.get(p) - value.get(q));
    } else rows = byName;
    gallery.replaceChildren(...rows);
  };
  if (sorter) {
    sorter.onchange = sortRows;
    if (sorter.value !== '0') sortRows(); // browsers keep the choice when they reload a page
  }

  // Zoom: all columns of a row at full size or larger. Up and down show one alone, in the same place.
  const one = column => {
    shown = column;
    stage.classList.toggle('one', column >= 0);
    [...stage.children].forEach((figure, index) => figure.classList.toggle('shown', index === column));
  };
  const show = index => {
    at = Math.max(0, Math.min(rows.length - 1, index));
    const row = rows[at];
    stage.replaceChildren(...[...row.querySelectorAll('figure')].map((figure, column) => {
      const thumbnail = figure.querySelector('img'), note = figure.querySelector('figcaption');
      const large = document.createElement('figure'), image = new Image(), link = document.createElement('a');
      image.onload = () => { if (column === 0) stage.style.setProperty('--natural', `${image.naturalWidth}px`) };
      image.src = link.href = thumbnail.src;
      image.alt = thumbnail.alt;
      link.target = '_blank';
      link.textContent = labels[column];
      const caption = document.createElement('figcaption');
      caption.append(link, note ? `  ${note.title} ${note.textContent}` : '');
      large.append(caption, image);
      return large;
    }));
    one(shown);
    dialog.querySelector('b').textContent = row.querySelector('.name').textContent;
    dialog.querySelector('.place').textContent = `${at + 1} of ${rows.length}`;
    dialog.scrollTop = 0;
    for (const near of [rows[at - 1], rows[at + 1]]) { // preload the neighbours
      for (const image of near?.querySelectorAll('img') ?? []) new Image().src = image.src;
    }
  };
  const steps = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
  document.addEventListener('keydown', event => {
    if (!dialog.open || !(event.key in steps)) return;
    event.preventDefault();
    const [along, across] = steps[event.key], count = labels.length + 1;
    if (along) show(at + along);
    if (across) one((shown + 1 + across + count) % count - 1);
  });
  gallery.addEventListener('click', event => {
    const target = event.target.closest('img, .name');
    if (!target) return;
    shown = -1;
    show(rows.indexOf(target.closest('.row')));
    dialog.showModal();
    dialog.focus(); // rather than its first link
  });
  dialog.addEventListener('click', event => { if (!event.target.closest('a')) dialog.close() });
  dialog.addEventListener('close', () => {
    rows[at].scrollIntoView({ block: 'nearest' });
    stage.replaceChildren();
  });
}
