"""What the explorer does in the browser: it keeps what is asked for in the address, and asks the server."""

# The fields are the visitor's: the server's HTML says nothing of their values, so that no answer changes what
# is being typed. Fields that are empty are left out of the address.
EXPLORE = """
const root = element.closest('.explore');
const form = () => root.querySelector('form');
const fields = name => [...form().elements].filter(field => field.name === name);
let due = null, focused = null, filled = false, asking = null, next = null, late = null;

const address = params => {
  const whole = new URLSearchParams([...new URLSearchParams(location.search)].filter(([key]) =>
    key.startsWith('__')));
  for (const [key, value] of params) whole.append(key, value);
  return '?' + whole;
};
// One question at a time, and of those that come meanwhile the last: Gradio, told to keep the last, would ask
// it with what was told of the first.
const send = query => {
  asking = query;
  next = null;
  trigger('select', {query});
  clearTimeout(late);
  late = setTimeout(answered, 20000);
};
const answered = () => {
  clearTimeout(late);
  const again = next !== asking ? next : null;
  asking = null;
  if (again !== null) send(again);
};
const ask = params => {
  clearTimeout(due);
  const query = params.toString();
  if (params.has('explore')) history.replaceState(history.state, '', address(params));
  if (asking !== null) next = query;
  else if (query !== element.querySelector('[data-of]')?.dataset.of) send(query);
};
const asked = () => {
  const params = new URLSearchParams();
  for (const [name, value] of new FormData(form())) if (value !== '') params.append(name, value);
  return params;
};
const write = params => {
  for (const name of new Set(params.keys())) {
    const values = params.getAll(name);
    for (const field of fields(name)) {
      if (field.type === 'checkbox' || field.type === 'radio') field.checked = values.includes(field.value);
      // What a link names and there is not leaves the choice as it is.
      else if (!field.options || [...field.options].some(one => one.value === values.at(-1)))
        field.value = values.at(-1);
    }
  }
};
// What is filtered anew begins with its first page.
const filtered = wait => {
  write(new URLSearchParams('page=&pair='));
  clearTimeout(due);
  due = setTimeout(() => ask(asked()), wait);
};

root.addEventListener('input', event => {
  if (event.target.form !== form()) return;
  if (event.target.name === 'explore') {
    const store = event.target.value;
    form().reset();
    ask(new URLSearchParams({explore: store}));
    for (const field of form().elements) {
      if (field.name === 'explore') field.value = store;
      else if (field.type === 'hidden') field.value = '';
    }
    return;
  }
  filtered(event.target.matches('input[type=search], input[type=number]') ? 250 : 0);
});
root.addEventListener('submit', event => event.preventDefault());

// What is clicked says which fields it sets.
root.addEventListener('click', event => {
  const clicked = event.target.closest('[data-set]');
  if (!clicked || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  focused = clicked.dataset.focus ?? null;
  write(new URLSearchParams(clicked.dataset.set));
  ask(asked());
  if (focused) {
    const top = root.querySelector('.listing').getBoundingClientRect().top;
    if (top < 0 || top > innerHeight * 0.6) root.querySelector('.listing').scrollIntoView();
  }
});

root.addEventListener('click', event => {
  const live = event.target.closest('[data-live]');
  if (live) trigger('click', {store: live.dataset.live, pair: live.dataset.pair});
});

// Bars are brushed: from where the pointer goes down to where it is.
let brushed = null;
const bar = (plot, event) => {
  const box = plot.getBoundingClientRect(), bars = JSON.parse(plot.dataset.edges).length - 1;
  return Math.min(Math.max(Math.floor((event.clientX - box.left) / box.width * bars), 0), bars - 1);
};
const brush = event => {
  const {plot, start} = brushed, now = bar(plot, event), edges = JSON.parse(plot.dataset.edges);
  const {measure} = plot.closest('.chart').dataset;
  write(new URLSearchParams({
    [measure + '_from']: edges[Math.min(start, now)], [measure + '_to']: edges[Math.max(start, now) + 1]}));
  filtered(60);
};
root.addEventListener('pointerdown', event => {
  const plot = event.target.closest('.plot[data-edges]');
  if (!plot || event.button) return;
  event.preventDefault();
  brushed = {plot, start: bar(plot, event)};
  plot.setPointerCapture(event.pointerId);
  brush(event);
});
root.addEventListener('pointermove', event => { if (brushed) brush(event); });
for (const end of ['pointerup', 'pointercancel']) root.addEventListener(end, () => { brushed = null; });

const settle = () => {
  if (!form()) return requestAnimationFrame(settle);
  if (!filled) {
    filled = true;
    write(new URLSearchParams(location.search));
  }
  // The answer may be to what was asked before the click.
  if (asking !== null) return;
  if (focused) root.querySelector(focused)?.focus({preventScroll: true});
  focused = null;
};
watch('value', () => {
  if (element.querySelector('[data-of]')?.dataset.of === asking) answered();
  settle();
});
const first = new URLSearchParams(location.search);
ask(first.has('explore') ? new URLSearchParams([...first].filter(([key]) => !key.startsWith('__')))
  : new URLSearchParams());
"""

OPEN_COMPARE = """() => {
  [...document.querySelectorAll('.questions button[role=tab]')]
    .find(tab => tab.textContent.trim() === 'Compare')?.click();
}"""

# A link that names a store is of the tab, which is then opened; nothing of it is asked for before.
OPEN_TAB = """() => {
  if (new URLSearchParams(location.search).has('explore'))
    [...document.querySelectorAll('.questions button[role=tab]')]
      .find(tab => tab.textContent.trim() === 'Explore')?.click();
}"""
