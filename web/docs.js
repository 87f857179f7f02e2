// The page /docs: everything comes from this service, nothing from another host.
window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null, // else a badge is fetched from swagger.io
});
