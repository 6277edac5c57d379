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
element.addEventListener('change', event => {
  if (event.target.type === 'radio') trigger('select', {index: event.target.value});
});
"""
)

PICK_EXAMPLE = """
element.addEventListener('click', event => {
  const button = event.target.closest('button[data-index]');
  if (button) trigger('select', {index: button.dataset.index});
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
  due = setTimeout(() => trigger('input', {threshold: input.value}), 60);
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
