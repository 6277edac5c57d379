"""What the pieces of HTML do in the browser: tell the server what was picked, moved or clicked on.

Gradio gives each script its piece as `element`, `trigger` to raise an event, and `watch` to be told of new
values. New HTML is merged into what stands there, so that the focus stays where it is.
"""

# A radio button that was clicked keeps its own mind; after new HTML it is to be what that says.
_FOLLOW_RADIOS = """
watch('value', () => element.querySelectorAll('input[type=radio]').forEach(
  radio => { radio.checked = radio.hasAttribute('checked'); }));
"""

PICK_FACE = (
    _FOLLOW_RADIOS
    + """
let pick = 0;
element.addEventListener('change', event => {
  if (event.target.type !== 'radio') return;
  const {search} = event.target.closest('.found').dataset;
  trigger('select', {index: event.target.value, search, pick: ++pick});
});
"""
)

PICK_EXAMPLE = """
element.addEventListener('click', event => {
  const button = event.target.closest('button[data-index]');
  if (button) trigger('select', {index: button.dataset.index});
});
"""

PREPARE = """
element.addEventListener('click', event => {
  if (event.target.closest('button')) trigger('select', {});
});
"""

ASK_PLACE = """
element.addEventListener('click', event => {
  const image = event.target.closest('img[data-side]');
  if (!image) return;
  const box = image.getBoundingClientRect();
  trigger('click', {
    side: image.dataset.side,
    x: (event.clientX - box.left) / box.width,
    y: (event.clientY - box.top) / box.height,
  });
});
"""

CHOOSE_VIEW = (
    _FOLLOW_RADIOS
    + ASK_PLACE
    + """
element.addEventListener('change', event => {
  if (event.target.type === 'radio') trigger('select', {view: event.target.value});
});
"""
)

# The verdict of a press comes into view once; a line that is moved on its scale moves nothing else.
COME_INTO_VIEW = """
let shown = null;
watch('value', () => {
  const press = element.querySelector('[data-of]')?.dataset.of;
  if (press === undefined || press === shown) return;
  shown = press;
  const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
  element.scrollIntoView({block: 'nearest', behavior: still ? 'auto' : 'smooth'});
});
"""

# The line moves with the hand; the server is asked some times a second.
MOVE_THRESHOLD = """
let due = null;
const follow = input => {
  const line = element.querySelector('.limit');
  if (line) line.style.left = 100 * input.value / input.max + '%';
};
const tell = input => {
  follow(input);
  clearTimeout(due);
  const {run} = input.dataset;
  due = setTimeout(() => trigger('input', {threshold: input.value, run}), 60);
};
element.addEventListener('input', event => {
  if (event.target.matches('.threshold')) tell(event.target);
});
element.addEventListener('click', event => {
  if (!event.target.matches('.own-threshold')) return;
  const input = element.querySelector('.threshold');
  input.value = input.getAttribute('value');
  tell(input);
});
watch('value', () => {
  const input = element.querySelector('.threshold');
  if (!input) return;
  input.value = input.getAttribute('value');
  follow(input);
});
"""

# The presses of Compare are counted here, and noted is what stood on the page at each; the server labels what
# it finds with the press. So whatever comes, in whatever order, the page knows what it is of: of several
# presses with the same photos and settings, each will do.
_READ_STANDING = """
  const standing = JSON.stringify(
    values.map(value => value?.path ?? (Array.isArray(value) ? [...value].sort() : value)));
  const stood = window.stoodAtPress ??= [];
"""
_NOTE_STANDING = f"""{_READ_STANDING}
  window.standing = standing;
  document.dispatchEvent(new Event('standing'));
"""

# Given are the photos and the settings that bear on the numbers; the answer is the last press with these, 0
# where there is none.
STANDING = f"(...values) => {{{_NOTE_STANDING} return stood.lastIndexOf(standing) + 1; }}"

# As `STANDING`, for a press.
PRESSED = f"(...values) => {{{_NOTE_STANDING} return stood.push(standing); }}"

# What Compare hands over may be newer than the press: then it is of none. It may as well be older than what
# stands there by now, so nothing is noted.
COMPARE = f"""(session, first, second, model, calibration, precision, methods, ...rest) => {{
  const occlusion = rest.slice(0, -1);
  const values = [first, second, model, calibration, precision, ...occlusion];
  {_READ_STANDING}
  const press = stood.lastIndexOf(standing) + 1 || -1;
  return [session, ...values.slice(0, 5), methods, ...occlusion, press];
}}"""

# Before it is painted, every part of the result that is not of the photos, faces and settings that stand on
# the page is out of use, and so are the zip and the command.
MARK_STALE = """
const note = element.querySelector('.stale');
const photos = standing => JSON.stringify(JSON.parse(standing ?? '[]').slice(0, 2));
const pickedNow = () => [...document.querySelectorAll('.photo')].map(photo =>
  photo.querySelector('.unusable') ? 'none' : photo.querySelector('.found input:checked')?.value ?? '0');
// A photo is drawn some moments before its change is told.
const isAhead = (photo, noted) => {
  const shown = photo.querySelector('img[src*="/file="]')?.getAttribute('src').split('/file=')[1];
  return shown !== undefined && shown !== noted && decodeURIComponent(shown) !== noted;
};
const mark = () => {
  const picked = pickedNow().join(' ');
  const noted = JSON.parse(window.standing ?? '[]');
  const ahead = [...document.querySelectorAll('.photo')].some((photo, index) => isAhead(photo, noted[index]));
  let words = '';
  for (const result of document.querySelectorAll('.result')) {
    const {of, picked: faces} = result.dataset;
    const stood = window.stoodAtPress?.[of - 1];
    const stale = of !== undefined && (ahead || stood !== window.standing || faces !== picked);
    result.toggleAttribute('inert', stale);
    if (stale) {
      const same = !ahead && stood && photos(stood) === photos(window.standing) && faces === picked;
      words = same ? note.dataset.settings : note.dataset.photos;
    }
  }
  document.querySelector('.keep').toggleAttribute('inert', words !== '');
  if (note.textContent !== words) note.textContent = words;
};
new MutationObserver(mark).observe(document.body, {
  subtree: true, childList: true, attributes: true,
  attributeFilter: ['data-of', 'data-picked', 'checked', 'inert', 'src'],
});
document.addEventListener('standing', mark);
document.addEventListener('change', mark);
mark();
"""
