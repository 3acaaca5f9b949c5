"""How long a report takes to open on a phone: its size, the first paint, and when it answers to touch.

Milliseconds by the clock, and of the processor: `cpu`, of the thread that draws and answers. A headless Chromium
(`madkit-lm[browser]`, with chromium and chromedriver from the system) opens the file at the size of a phone, with its
processor slowed down by as much as a phone's is slower:

    python benchmarks/report_opening.py figures/report.html [OTHER.html] --slower 4 --repeats 5
"""

import argparse
import json
import shutil
import statistics
from pathlib import Path

from selenium import webdriver

OBSERVE = """
window.longTasks = [];
new PerformanceObserver((list) => {
  for (const task of list.getEntries()) longTasks.push([task.startTime, task.duration]);
}).observe({ type: "longtask", buffered: true });
"""
"""Installed before the page: tasks of more than 50 ms, while which it answers nothing."""

MEASURE = """
const done = arguments[0];
const quiet = 1500;  // milliseconds without a long task, after which the page answers
const look = () => {
  const last = Math.max(0, ...longTasks.map(([start, duration]) => start + duration));
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  const loaded = performance.getEntriesByType("navigation")[0].loadEventEnd;
  if (!paint || !loaded || performance.now() < Math.max(last, loaded) + quiet) return setTimeout(look, 100);
  done({
    paint: paint.startTime,
    interactive: Math.max(paint.startTime, last),
    loaded,
    blocked: longTasks.reduce((sum, [, duration]) => sum + duration, 0),
    elements: document.querySelectorAll("*").length,
    heap: performance.memory.usedJSHeapSize,
  });
};
look();
"""


def measure(path: Path, slower: float) -> dict[str, float]:
    """Open a report once, in a browser of its own."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or "chromium"
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        phone = {"width": 390, "height": 844, "deviceScaleFactor": 3, "mobile": True}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
        driver.execute_cdp_cmd("Emulation.setCPUThrottlingRate", {"rate": slower})
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": OBSERVE})
        driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        driver.set_script_timeout(120)
        driver.get(path.resolve().as_uri())
        found = dict(driver.execute_async_script(MEASURE))
        metrics = {m["name"]: m["value"] for m in driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]}
        return found | {"cpu": 1000 * metrics["TaskDuration"], "nodes": metrics["Nodes"]}
    finally:
        driver.quit()


def main() -> None:
    """Print a line of JSON per report: medians of a few openings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reports", nargs="+", type=Path)
    parser.add_argument("--slower", type=float, default=4.0, help="how many times slower than this machine")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    for path in options.reports:
        runs = [measure(path, options.slower) for _ in range(options.repeats)]
        medians = {name: round(statistics.median(run[name] for run in runs)) for name in runs[0]}
        print(json.dumps({"report": str(path), "bytes": path.stat().st_size, **medians}), flush=True)


if __name__ == "__main__":
    main()
