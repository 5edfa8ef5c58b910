#include "serve/html.h"

#include <limits.h>

static int starts_character(char c)
{
    return ((unsigned char)c & 0xc0) != 0x80;
}

static void put(FILE *to, char c)
{
    switch (c) {
    case '&':
        fputs("&amp;", to);
        break;
    case '<':
        fputs("&lt;", to);
        break;
    case '>':
        fputs("&gt;", to);
        break;
    case '"':
        fputs("&quot;", to);
        break;
    case '\'':
        fputs("&#39;", to);
        break;
    default:
        if (((unsigned char)c < ' ' && c != '\n' && c != '\t') || c == 127)
            fputs("\xef\xbf\xbd", to);
        else
            putc(c, to);
    }
}

int beam_characters(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += starts_character(*text);
    return n;
}

int beam_html_label(FILE *to, const char *text, int limit)
{
    const int all = beam_characters(text), kept = all <= limit ? all : limit - 1;
    int n = 0;
    for (; *text; text++) {
        n += starts_character(*text);
        if (n > kept)
            break;
        put(to, *text);
    }
    if (all > kept)
        fputs("\xe2\x80\xa6", to);
    return all > kept ? kept + 1 : all;
}

void beam_html_text(FILE *to, const char *text)
{
    beam_html_label(to, text, INT_MAX);
}

/* Series are a, b, c, d, e, f; levels of a heat map are h0 (nothing) to h9. Both keep their order of
 * lightness against the background. */
static const char *const style[] = {
    ":root{color-scheme:light dark;--page:#f5f6f8;--card:#fff;--ink:#18202b;--soft:#5a6675;--line:#e3e7ed;",
    "--a:#1d6fb8;--b:#c4560a;--c:#23845a;--d:#8a4fbe;--e:#b3306d;--f:#6b6a1d;",
    "--h0:#eef0f3;--h1:#e4f4cf;--h2:#c5e8b7;--h3:#96d5b9;--h4:#63c0c0;--h5:#38a3c2;--h6:#2480b6;--h7:#"
    "245da3;",
    "--h8:#243d87;--h9:#101f58}",
    "@media(prefers-color-scheme:dark){:root{--page:#0e1217;--card:#161b22;--ink:#e7ebf0;--soft:#9aa6b5;",
    "--line:#2a323d;--a:#69b1f1;--b:#f39b57;--c:#5cc697;--d:#c29af0;--e:#f084b4;--f:#cfc95a;",
    "--h0:#1f2630;--h1:#17344d;--h2:#174a69;--h3:#1b6180;--h4:#267a94;--h5:#3c95a5;--h6:#63b0ae;--h7:#"
    "94c9b2;",
    "--h8:#c6e1b9;--h9:#f7f8cc}}",
    "*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,",
    "-apple-system,'Segoe UI',Roboto,'Helvetica Neue','DejaVu Sans',sans-serif}",
    "main{max-width:1180px;margin:0 auto;padding:40px 20px 64px}",
    "h1{font-size:30px;line-height:1.2;letter-spacing:-.02em;margin:0}",
    "h2{font-size:20px;letter-spacing:-.01em;margin:44px 0 14px}p{margin:6px 0 0;color:var(--soft)}",
    "code,pre{font:13px/1.5 ui-monospace,'SF Mono',Menlo,Consolas,'DejaVu Sans Mono',monospace}",
    "pre{overflow:auto;max-height:480px;margin:12px 0 0}summary{cursor:pointer;font-weight:600}",
    ".card,figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:10px;",
    "padding:16px "
    "18px;overflow-x:auto}.grid{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:16px}",
    ".wide{grid-column:1/-1}.card+.card,.grid+.card{margin-top:16px}",
    "@media(max-width:820px){.grid{grid-template-columns:minmax(0,1fr)}}",
    "figcaption{display:flex;flex-wrap:wrap;align-items:baseline;gap:2px "
    "14px;margin-bottom:8px;font-size:14px;",
    "color:var(--soft)}figcaption b{font-size:15px;color:var(--ink)}",
    ".key{white-space:nowrap}.key "
    "i{display:inline-block;width:16px;height:3px;margin-right:6px;vertical-align:.25em;",
    "border-radius:2px;background:currentColor}.ramp "
    "i{width:13px;height:11px;margin:0;border-radius:0;vertical-align:-1px}",
    ".ramp span{margin:0 6px}",
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}",
    "th,td{padding:9px 14px;text-align:right;white-space:nowrap;border-top:1px solid var(--line)}",
    "thead th{border:0;padding-top:2px;font-size:13px;font-weight:600;color:var(--soft)}",
    "tbody th{text-align:left;font-weight:600}thead th:first-child{text-align:left}",
    "figure>svg{display:block;width:100%;min-width:430px;height:auto;font:12px "
    "system-ui,-apple-system,'Segoe "
    "UI',Roboto,",
    "'Helvetica Neue','DejaVu Sans',sans-serif;font-variant-numeric:tabular-nums}.wide>svg{min-width:800px}",
    "svg text{fill:var(--soft)}svg "
    ".label{fill:var(--ink);paint-order:stroke;stroke:var(--card);stroke-width:4px;stroke-linejoin:round}."
    "gridline{stroke:var(--line);fill:none}",
    ".axis{stroke:var(--soft);fill:none}.line{fill:none;stroke:currentColor;stroke-width:1.8;",
    "stroke-linejoin:round;stroke-linecap:round}.faint{fill:none;stroke:currentColor;stroke-opacity:.28}",
    ".join{fill:none;stroke:currentColor;stroke-opacity:.75;stroke-width:1.3;stroke-dasharray:1 "
    "4;stroke-linecap:round}",
    ".dot{fill:currentColor;stroke:var(--card);stroke-width:1.5}.tile{stroke:var(--card);stroke-width:1}",
    ".a{color:var(--a)}.b{color:var(--b)}.c{color:var(--c)}.d{color:var(--d)}.e{color:var(--e)}.f{color:var(-"
    "-f)}",
    ".h0{color:var(--h0)}.h1{color:var(--h1)}.h2{color:var(--h2)}.h3{color:var(--h3)}.h4{color:var(--h4)}",
    ".h5{color:var(--h5)}.h6{color:var(--h6)}.h7{color:var(--h7)}.h8{color:var(--h8)}.h9{color:var(--h9)}",
    "@media print{.card,figure{break-inside:avoid}pre{max-height:none}}",
};

void beam_html_open(FILE *to, const char *title)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"/>\n<title>",
          to);
    beam_html_text(to, title);
    fputs("</title>\n<style>\n", to);
    for (size_t i = 0; i < sizeof style / sizeof *style; i++)
        fprintf(to, "%s\n", style[i]);
    fputs("</style>\n</head>\n<body>\n<main>\n<h1>", to);
    beam_html_text(to, title);
    fputs("</h1>\n", to);
}

void beam_html_close(FILE *to)
{
    fputs("</main>\n</body>\n</html>\n", to);
}
