(function () {
  "use strict";
  var table = document.getElementById("verdicts"), body = table.tBodies[0];
  var rows = Array.prototype.slice.call(body.rows);
  var form = document.querySelector(".filters");
  var field = function (id) { return document.getElementById(id); };
  var text = field("f-text"), severity = field("f-severity"), rule = field("f-rule"), status = field("f-status");
  var haystack = new Map();
  rows.forEach(function (r) { haystack.set(r, r.textContent.toLowerCase()); });

  function filter() {
    var words = text.value.toLowerCase().split(/\s+/).filter(Boolean), shown = 0;
    rows.forEach(function (r) {
      var ok = (!severity.value || r.dataset.severity === severity.value) &&
        (!rule.value || r.dataset.rule === rule.value) &&
        (!status.value || r.dataset.status === status.value) &&
        words.every(function (w) { return haystack.get(r).indexOf(w) >= 0; });
      r.hidden = !ok;
      if (ok) { shown++; }
    });
    field("f-count").textContent = shown === rows.length ? rows.length + " rows" : shown + " of " + rows.length + " rows";
    field("f-none").hidden = shown > 0;
  }

  function value(row, col, numeric) {
    var cell = row.cells[col], v = cell.dataset.v === undefined ? cell.textContent.trim() : cell.dataset.v;
    return numeric ? Number(v) : v.toLowerCase();
  }

  function sort(th) {
    var col = th.cellIndex, numeric = th.dataset.type === "num";
    var down = th.getAttribute("aria-sort") === "ascending" || (numeric && !th.hasAttribute("aria-sort"));
    Array.prototype.forEach.call(th.parentNode.cells, function (c) { c.removeAttribute("aria-sort"); });
    th.setAttribute("aria-sort", down ? "descending" : "ascending");
    rows.sort(function (a, b) {
      var x = value(a, col, numeric), y = value(b, col, numeric);
      return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
    });
    rows.forEach(function (r) { body.appendChild(r); });
  }

  Array.prototype.forEach.call(table.tHead.rows[0].cells, function (th) {
    var b = document.createElement("button");
    b.type = "button";
    b.textContent = th.textContent;
    b.addEventListener("click", function () { sort(th); });
    th.dataset.title = th.textContent;
    th.textContent = "";
    th.appendChild(b);
  });
  form.addEventListener("input", filter);
  form.addEventListener("submit", function (e) { e.preventDefault(); });
  form.addEventListener("reset", function () { setTimeout(filter, 0); });
  document.querySelectorAll("a[data-pick]").forEach(function (a) {
    a.addEventListener("click", function () { form.reset(); rule.value = a.dataset.pick; setTimeout(filter, 0); });
  });
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (d) { d.open = true; });
  });
  if (!rows.length) { field("f-none").textContent = "Nothing to list."; form.remove(); field("f-none").hidden = false; return; }
  form.hidden = false;
  sort(table.tHead.rows[0].cells[0]);
  filter();
})();
