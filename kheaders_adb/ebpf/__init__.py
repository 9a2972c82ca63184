"""From a staged tree to BPF objects: flags, compiling, compile_commands.json, environment lines."""
