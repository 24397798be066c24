/** What the platform says of an end: a sentence, and under it, as it was printed, the output that it quotes. */
export function Reason({ text }: { text: string }) {
  const [sentence = "", ...quoted] = text.split("\n");
  return (
    <>
      <span>{sentence}</span>
      {quoted.length > 0 && <pre className="small mb-0 mt-2 overflow-auto">{quoted.join("\n")}</pre>}
    </>
  );
}
