"""The executor: the path of a call, pure. It sees the world only through `Host`."""
