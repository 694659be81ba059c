// The rules of a new password, ticked off while it is typed: those that a browser can judge just as the server does
// (`passwords.rs`). The others need its lists, and the page says so.
"use strict";
{
  const field = document.getElementById("password");
  const list = document.getElementById("rules");
  const said = document.getElementById("rules-said");
  const met = {
    // Characters as the server counts them, which are not those of String.length.
    length: (text) => [...text].length >= Number(list.dataset.min),
    personal: (text, { parts }) => !JSON.parse(parts).some((part) => text.toLowerCase().includes(part)),
  };
  const rules = [...list.querySelectorAll("[data-rule]")];

  // True or false; undefined where nobody knows: nothing is typed, or the server knows more of the user than this page.
  function judge(rule, text) {
    const is = text === "" ? undefined : met[rule.dataset.rule](text, rule.dataset);
    return is && rule.dataset.rule === "personal" && !("isAll" in rule.dataset) ? undefined : is;
  }

  function show() {
    for (const rule of rules) {
      const is = judge(rule, field.value);
      rule.classList.toggle("met", is === true);
      rule.classList.toggle("unmet", is === false);
      rule.lastElementChild.textContent = is === undefined ? "" : is ? ": met" : ": not met";
    }
  }

  // Said once the typing pauses, and only if it is not what was said last.
  function say() {
    const now = rules.filter((rule) => rule.matches(".met, .unmet")).map((rule) => rule.textContent).join(". ");
    if (said.textContent !== now) said.textContent = now;
  }

  let pause;
  field.addEventListener("input", () => {
    show();
    clearTimeout(pause);
    pause = setTimeout(say, 1000);
  });
  // A browser may have filled it in, or kept it, before this runs.
  show();
}
