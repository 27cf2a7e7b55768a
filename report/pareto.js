'use strict';

// The plot of a search. Without this script it is there too, with titles and links.
{
  const { points, fronts, brief, command } = JSON.parse(document.querySelector('script.points').textContent);
  const panel = document.querySelector('.chosen-point'), planes = [...document.querySelectorAll('.plane')];
  const NEAR = 30; // how near the pointer must be [px]
  const text = (tag, content, parent) => {
    const element = document.createElement(tag);
    element.textContent = content;
    parent.append(element);
    return element;
  };

  // What stands beside the plot: all facts of a point, and its images or how to make them.
  let chosen = -1;
  const choose = index => {
    if (index === chosen) return;
    chosen = index;
    const { config, facts, sample } = points[index];
    panel.replaceChildren();
    text('h2', config, panel);
    const list = document.createElement('dl');
    for (const [name, value] of Object.entries(facts)) {
      text('dt', name, list);
      text('dd', value, list);
    }
    panel.append(list);
    if (sample) {
      const link = document.createElement('a'), image = new Image();
      link.className = 'picture';
      link.href = image.src = sample;
      link.title = config;
      image.alt = `images of ${config}`;
      link.append(image);
      panel.append(link);
    } else if (command) {
      text('p', 'The search stored no images of it. This makes some:', panel);
      text('pre', command.replaceAll('{config}', config), panel);
    } else text('p', 'The search stored no images of it.', panel);
    for (const { ring, axis } of marks) put(ring, axis, index);
  };
  const put = (ring, axis, index) => {
    ring.classList.toggle('hidden', index < 0);
    if (index < 0) return;
    ring.setAttribute('cx', `${points[index].x[axis]}%`);
    ring.setAttribute('cy', `${points[index].y}%`);
  };

  const marks = [];
  for (const plane of planes) {
    const { axis } = plane.dataset, drawing = plane.querySelector('svg'), front = fronts[axis];
    const members = [...plane.querySelectorAll('.front')];
    for (const title of plane.querySelectorAll('title')) title.remove(); // the tip says it
    const ringOf = name => {
      const ring = drawing.querySelector('circle').cloneNode();
      ring.setAttribute('class', `ring hidden ${name}`);
      ring.setAttribute('r', 9);
      drawing.append(ring);
      return ring;
    };
    marks.push({ ring: ringOf('chosen'), axis });
    const ring = ringOf(''), tip = document.createElement('div');
    tip.className = 'tip hidden';
    plane.append(tip);

    let near = -1;
    const point = index => { // tip and ring on a point; -1 = on none
      near = index;
      put(ring, axis, index);
      tip.classList.toggle('hidden', index < 0);
      if (index < 0) return;
      const { config, facts, x, y } = points[index];
      tip.textContent = [config, ...brief.map(name => `${name}  ${facts[name]}`)].join('\n');
      const { clientWidth: width, clientHeight: height } = plane, left = x[axis] / 100 * width, top = y / 100 * height;
      tip.style.left = `${Math.max(-40, Math.min(width - tip.offsetWidth + 10, left + 14))}px`;
      tip.style.top = `${top > tip.offsetHeight + 14 ? top - tip.offsetHeight - 12 : top + 14}px`;
    };
    const nearest = event => {
      const box = plane.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
      let best = -1, least = NEAR;
      points.forEach((each, index) => {
        const distance = Math.hypot(each.x[axis] / 100 * box.width - x, each.y / 100 * box.height - y);
        if (distance < least) [best, least] = [index, distance];
      });
      return best;
    };
    plane.addEventListener('pointermove', event => point(nearest(event)));
    plane.addEventListener('pointerleave', () => point(-1));
    plane.addEventListener('click', event => {
      event.preventDefault();
      const member = event.detail ? null : event.target.closest('.front'); // a key pressed a link
      const index = member ? Number(member.dataset.i) : nearest(event);
      if (index < 0) return;
      choose(index);
      point(index);
      if (member === null && front.includes(index)) members[front.indexOf(index)].focus();
    });

    // The front is one tab stop; arrow keys go along it.
    const stop = at => members.forEach((member, index) => member.setAttribute('tabindex', index === at ? 0 : -1));
    stop(Math.max(0, front.indexOf(0)));
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, Home: -Infinity, End: Infinity };
    members.forEach((member, at) => {
      member.addEventListener('focus', () => { stop(at); point(front[at]) });
      member.addEventListener('blur', () => point(-1));
      member.addEventListener('keydown', event => {
        if (event.key === 'Enter' || event.key === ' ') {
          event.preventDefault();
          const again = chosen === front[at], picture = panel.querySelector('.picture');
          choose(front[at]);
          if (again && picture) openPicture(picture);
        } else if (event.key === 'Escape') point(-1);
        else if (event.key in steps) {
          event.preventDefault();
          members[Math.max(0, Math.min(members.length - 1, at + steps[event.key]))].focus();
        }
      });
    });
  }
  choose(0);
}
