// Runs before the page and says in plain words why the page cannot run. It is written in old syntax and
// is not a module, so that it runs in old browsers too.

(function () {
  "use strict";

  // A browser with module workers reads the option "type".
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
      // The worker may fail to start, but the options have been read by then.
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
      return ["This browser has no WebAssembly, which the networks need. Use a current one, and check that WebAssembly is not switched off."];
    }
    if (typeof Worker !== "function" || !hasModuleWorkers()) {
      return ["This browser has no module workers, which the networks need. Use a current Chrome, Edge, Firefox or Safari."];
    }
    return null;
  }

  // The folder of this file, quoted for a shell if needed.
  function folder() {
    var path = decodeURIComponent(location.pathname).replace(/\/[^\/]*$/, "").replace(/^\/(?=[A-Za-z]:)/, "");
    return /^[\w.\/:-]+$/.test(path) ? path : '"' + path + '"';
  }

  // lines: a text, or a text, a command and another text
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
    // Browsers without modules skip app.js and give no error.
    else if (!("noModule" in document.createElement("script"))) window.showMessage(["This browser is too old for this page. Use a current one."]);
  });
})();
