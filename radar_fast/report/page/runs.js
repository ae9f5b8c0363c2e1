// The result folders that all of this is made from.

function runs() {
  const { box } = figure("runs", "Runs", "The result folders behind this page, in order.");
  const columns = {
    label: "step", folder: "results", model: "checkpoint", created: "begun (UTC)", missing: "missing", name: "engine",
    version: "version", dtype: "dtype", device_name: "device", without_images: "without images",
  };
  const shown = Object.keys(columns).filter((name) => DATA.runs.some((run) => run[name] || run[name] === 0));
  const paths = ["folder", "model", "without_images"];
  const ending = (path) => h("span", { title: path }, path.split("/").slice(-2).join("/"));
  const text = (value, name) => (typeof value === "number" ? count(value) : !value ? "\u2013" : paths.includes(name) ? ending(value) : value);
  box.append(tableOf("Runs", {
    head: shown.map((name) => columns[name]),
    rows: DATA.runs.map((run) => shown.map((name) => text(run[name], name))),
  }));
}
