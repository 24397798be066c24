import type { Platform } from "../trpc.ts";
import { Command } from "./command.tsx";

/** The two shortest ways to a live function, ready to be pasted. */
export function FirstPush({ platform, owner }: { platform: Platform; owner: string }) {
  const node = platform.languages.find(
    (language) => language.name.startsWith("node") && language.problem === undefined,
  );
  return (
    <div className="row g-4">
      <div className={node === undefined ? "col-12" : "col-lg-5"}>
        <h3 className="h6">You have a repository with a stack.yml</h3>
        <p className="text-body-secondary">Add this platform as a remote, and push.</p>
        <Command
          what="the commands that push a repository you have"
          text={push(platform.gitBaseUrl, owner, "my-functions")}
        />
        <p className="text-body-secondary mt-3 mb-0">
          Git asks for a password: it is the access token that <code>npm start</code> printed.
        </p>
      </div>
      {node !== undefined && (
        <div className="col-lg-7">
          <h3 className="h6">You start from nothing</h3>
          <p className="text-body-secondary">Paste this into a terminal: a function that greets.</p>
          <Command
            what="the commands that make and push a first function"
            text={start(platform.gitBaseUrl, owner, node.name)}
          />
        </div>
      )}
    </div>
  );
}

function push(gitBaseUrl: string, owner: string, repository: string): string {
  return `git remote add cloud ${gitBaseUrl.replace("://", `://${owner}@`)}/${owner}/${repository}.git
git push cloud HEAD:main`;
}

function start(gitBaseUrl: string, owner: string, language: string): string {
  return `mkdir -p greetings/hello && cd greetings && git init -b main
cat > stack.yml <<'END'
version: 1.0
provider:
  name: openfaas
functions:
  hello:
    lang: ${language}
    handler: ./hello
END
cat > hello/handler.js <<'END'
module.exports = async (event, context) =>
  context.status(200).succeed("Hello from your first function\\n");
END
git add . && git commit -m "Say hello"
${push(gitBaseUrl, owner, "greetings")}`;
}
