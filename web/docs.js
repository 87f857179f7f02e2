// The page /docs: everything comes from this service, nothing from another host.
window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null, // else a badge is fetched from swagger.io
});

// Swagger UI has dark colours for this class.
const dark = window.matchMedia("(prefers-color-scheme: dark)");
function follow() {
  document.documentElement.classList.toggle("dark-mode", dark.matches);
}
dark.addEventListener("change", follow);
follow();
