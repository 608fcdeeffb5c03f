// The download buttons hold the page's source itself (see _ext/page.py); this names the file that they save.
document.addEventListener("DOMContentLoaded", () => {
  for (const link of document.querySelectorAll("a.btn-download-source-button"))
    link.download = location.pathname.split("/").pop().replace(/\.html$/, link.textContent.trim());
});
