"""The columns of cost.json that tables and figures read; a row may hold more."""

# column of cost.json -> heading, and how its value is written
COST_COLUMNS = {
    "parameters": ("Parameters", "count"),
    "parameters_without_items": ("without items", "count"),
    "device_parameters": ("on the device", "count"),
    "cloud_parameters": ("in the cloud", "count"),
    "flops": ("FLOPs, one inference", "si"),
    "flops_products": ("of it matrix products", "si"),
    "flops_elementwise": ("of it element-wise", "si"),
    "flops_score": ("of it scoring", "si"),
    "device_flops": ("FLOPs, one inference, on the device", "si"),
    "flops_per_click": ("FLOPs, one new click", "si"),
    "device_flops_per_click": ("FLOPs, one new click, on the device", "si"),
    "peak_bytes": ("Peak memory", "bytes"),
    "state_bytes": ("State between clicks", "bytes"),
    "latency_us": ("Latency, one inference", "us"),
    "click_latency_us": ("Latency, one new click", "us"),
}
