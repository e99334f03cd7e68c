"""The policy engine: bundles, `decide`, budgets as values, and what every reason means. Pure; cedarpy evaluates."""
