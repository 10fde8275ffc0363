// When does it make sense to try again? A button that is disabled and counts the seconds down until then.

const TICK_MS = 250;

// Ends when the time is over or the button has left the page.
export function count_down(button, seconds) {
  const name = button.textContent;
  const until = performance.now() + seconds * 1000;
  let timer = null;
  const tick = () => {
    const left = Math.ceil((until - performance.now()) / 1000);
    button.disabled = left > 0;
    button.textContent = left > 0 ? `${name} in ${left} s` : name;
    if (left <= 0) clearInterval(timer);
  };
  timer = setInterval(() => (button.isConnected ? tick() : clearInterval(timer)), TICK_MS);
  tick();
}
