// Runs before the page and says in plain words what keeps it from running. It is in old syntax and no
// module, so that it runs in browsers without them.

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
      // Such a worker may not start, but its options have been read.
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

  // The folder of this file, quoted for a shell where that is needed.
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
    // Browsers without modules skip app.js and give no error.
    else if (!("noModule" in document.createElement("script"))) window.showMessage(["This browser is too old for this page. Use a current one."]);
  });
})();
