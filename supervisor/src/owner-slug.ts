/** A program of its own: prints the owner slug that its argument makes, or nothing. */
import { slugify } from "@openfaas-cloud/shared/names.ts";

process.stdout.write(slugify(process.argv[2] ?? "") ?? "");
