"""What every participant of the comparison understands on its standard input, one line of answer for one line:

about        a JSON object: name, version, what becomes of an ICC profile ("converted" or "ignored") and of transparent pixels
             (a "white" background, or "dropped": only their colour counts)
load PATH    reads a file into memory; the first one is number 0
run NUMBER   makes the small JPEG: milliseconds by the clock, milliseconds of processor time, bytes of the output; or "-" and the
             reason if this participant cannot read the file
save PATH    writes the last output to a file

The same protocol is spoken by sharp.cjs and ours.rs.
"""

import json
import sys
import time


def serve(about, process):
    sources, output = [], b""
    for line in sys.stdin:
        command, _, argument = line.rstrip("\n").partition(" ")
        if command == "about":
            answer = json.dumps(about)
        elif command == "load":
            with open(argument, "rb") as file:
                sources.append(file.read())
            answer = str(len(sources) - 1)
        elif command == "run":
            source, output = sources[int(argument)], b""
            wall, cpu = time.perf_counter(), time.process_time()
            try:
                output = process(source)
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                answer = f"{1000 * wall} {1000 * cpu} {len(output)}"
            except Exception as error:
                answer = "- " + " ".join(str(error).split())
        elif command == "save":
            with open(argument, "wb") as file:
                file.write(output)
            answer = "saved"
        else:
            sys.exit(f"no such command: {command}")
        print(answer, flush=True)
