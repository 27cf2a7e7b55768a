// Before the page itself: says in plain words what keeps it from running. Old syntax, no modules, so that it runs where they do not.

(function () {
  "use strict";

  // A module worker is one whose options are read for "type".
  function hasModuleWorkers() {
    var asked = false;
    var options = {
      get type() {
        asked = true;
        return "module";
      },
    };
    try {
      new Worker("data:text/javascript,", options).terminate();
    } catch (error) {
      // A worker that may not start has been asked all the same.
    }
    return asked;
  }

  function problem() {
    if (location.protocol === "file:") {
      return [
        "Browsers do not run WebAssembly from files. In a terminal, type",
        "python -m http.server 8000 -d " + folder(),
        "and open http://localhost:8000",
      ];
    }
    if (typeof WebAssembly !== "object" || typeof WebAssembly.instantiate !== "function") {
      return ["This browser has no WebAssembly, which the network runs in. Use a current one, and look whether WebAssembly is switched off."];
    }
    if (typeof Worker !== "function" || !hasModuleWorkers()) {
      return ["This browser has no module workers, which the network runs in. Use a current Chrome, Edge, Firefox or Safari."];
    }
    return null;
  }

  // The folder of this file, quoted for a shell where it must be.
  function folder() {
    var path = decodeURIComponent(location.pathname).replace(/\/[^\/]*$/, "").replace(/^\/(?=[A-Za-z]:)/, "");
    return /^[\w.\/:-]+$/.test(path) ? path : '"' + path + '"';
  }

  // lines: text, or text, a command, text
  window.showMessage = function (lines) {
    var box = document.getElementById("message");
    box.textContent = "";
    for (var i = 0; i < lines.length; i++) {
      var line = document.createElement(i === 1 ? "code" : "p");
      line.textContent = lines[i];
      box.appendChild(line);
    }
    box.hidden = false;
    document.getElementById("app").hidden = true;
  };

  window.cannotRun = problem();
  document.addEventListener("DOMContentLoaded", function () {
    if (window.cannotRun) window.showMessage(window.cannotRun);
    // Modules that do not load say so nowhere else.
    else if (!("noModule" in document.createElement("script"))) window.showMessage(["This browser is too old for this page. Use a current one."]);
  });
})();
