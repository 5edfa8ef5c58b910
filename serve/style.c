#include "serve/style.h"

#include <stddef.h>

/* Classes that the charts use: s0 (neutral) to s6 are the colours of series, h0 (nothing) to h9 the levels of
 * a heat map, t0 to t7 those behind text. Levels keep their order of lightness against the background, and
 * text on t0 to t7 stays readable. Widths up to 480 px are phones: a chart shrinks there, so its letters
 * grow. */

/* clang-format off */
static const char *const sheet[] = {
    ":root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#17202b;--soft:#566170;--line:#e2e6ec;",
    "--s0:#4b5563;--s1:#0f66b5;--s2:#c04f00;--s3:#0b7d5c;--s4:#b5307f;--s5:#6d6400;--s6:#6b4fc8;",
    "--h0:#eef0f3;--h1:#e4f4cf;--h2:#c5e8b7;--h3:#96d5b9;--h4:#63c0c0;",
    "--h5:#38a3c2;--h6:#2480b6;--h7:#245da3;--h8:#243d87;--h9:#101f58;",
    "--t0:#fff;--t1:#fdf3e4;--t2:#fbe6c8;--t3:#f9d8aa;--t4:#f7c98c;--t5:#f4b96e;--t6:#f0a750;--t7:#ea9432}",
    "@media screen and (prefers-color-scheme:dark){:root{",
    "--page:#0e1217;--card:#161b22;--ink:#e7ebf0;--soft:#9aa6b5;--line:#2a323d;",
    "--s0:#a9b4c2;--s1:#6cb2f2;--s2:#f59b54;--s3:#58c79a;--s4:#f088bd;--s5:#d0c456;--s6:#b3a0f7;",
    "--h0:#1f2630;--h1:#17344d;--h2:#174a69;--h3:#1b6180;--h4:#267a94;",
    "--h5:#3c95a5;--h6:#63b0ae;--h7:#94c9b2;--h8:#c6e1b9;--h9:#f7f8cc;",
    "--t0:#161b22;--t1:#262423;--t2:#372c23;--t3:#483523;--t4:#593d22;--t5:#6a4521;--t6:#7b4e20;--t7:#8c561e}}",

    "*{box-sizing:border-box}",
    "body{margin:0;background:var(--page);color:var(--ink);-webkit-text-size-adjust:100%;",
    "font:16px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue','DejaVu Sans',sans-serif}",
    "main{max-width:1180px;margin:0 auto;padding:48px 24px 72px}",
    "h1{font-size:32px;line-height:1.2;letter-spacing:-.02em;margin:0}",
    "h2{font-size:21px;line-height:1.3;letter-spacing:-.01em;margin:56px 0 4px}",
    "h3{font-size:16px;margin:0 0 2px;overflow-wrap:anywhere}",
    "p{margin:4px 0 0;color:var(--soft);max-width:76ch;overflow-wrap:anywhere}",
    "p strong{color:var(--ink)}h2+p{margin-bottom:2px}",
    "code,pre{font:13px/1.55 ui-monospace,'SF Mono',Menlo,Consolas,'DejaVu Sans Mono',monospace}",
    "pre{overflow:auto;max-height:480px;margin:12px 0 0}",
    "footer{margin-top:56px;font-size:13px;color:var(--soft)}",

    ".card,figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:12px;",
    "padding:20px 22px;min-width:0}",
    ".card,.grid,.tiles{margin-top:16px}.scroll{overflow-x:auto}",
    ".grid{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:16px}",
    ".grid>.card{margin-top:0}.wide{grid-column:1/-1}",
    ".tiles{display:grid;grid-template-columns:repeat(4,minmax(0,1fr));gap:16px}",
    ".tile{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:16px 20px}",
    ".tile b{display:block;font-size:27px;line-height:1.25;letter-spacing:-.02em;margin:2px 0;",
    "font-variant-numeric:tabular-nums}",
    ".tile span{display:block;font-size:14px;line-height:1.45;color:var(--soft);overflow-wrap:anywhere}",

    "summary{cursor:pointer;font-weight:600;overflow-wrap:anywhere}",
    "summary span{font-weight:400;color:var(--soft);margin-left:8px}",
    "details.more{margin-top:16px}details.more>summary{padding:6px 2px;color:var(--soft)}",
    "details.card{padding:13px 22px}details.card+details.card{margin-top:8px}",
    "details .grid figure{background:none}",
    ":focus-visible{outline:2px solid var(--s1);outline-offset:2px;border-radius:4px}",

    "figcaption{font-size:14px;line-height:1.45;color:var(--soft);margin-bottom:10px}",
    "figcaption b{display:block;font-size:16px;color:var(--ink)}",
    "figcaption>span{overflow-wrap:anywhere}",
    ".keys{display:flex;flex-wrap:wrap;gap:4px 18px;margin-top:16px;font-size:14px;color:var(--soft)}",
    ".key{display:inline-flex;align-items:center;gap:7px;overflow-wrap:anywhere;min-width:0}",
    ".swatch{width:14px;height:14px;flex:none;vertical-align:-2px}",
    ".ramp{display:flex;align-items:center;flex-wrap:wrap;margin-top:4px}",
    ".ramp i{width:14px;height:12px;background:currentColor}",
    ".card>.ramp{font-size:14px;color:var(--soft)}.ramp span{margin:0 8px}.ramp span:first-child{margin-left:0}",

    "table{border-collapse:collapse;width:100%;font-size:15px;font-variant-numeric:tabular-nums}",
    "th,td{padding:9px 12px;text-align:right;white-space:nowrap;border-top:1px solid var(--line)}",
    "thead th{border:0;padding-top:0;font-size:13px;font-weight:600;color:var(--soft)}",
    "tr>:first-child{padding-left:0;position:sticky;left:0;background:var(--card);text-align:left}",
    "tr>:last-child{padding-right:0}",
    "tbody th{font-weight:600;white-space:normal;overflow-wrap:anywhere;min-width:170px;max-width:340px}",
    "tbody th .swatch{margin-right:8px}",
    "tbody tr:hover>*{background:var(--page)}",

    ".plot{position:relative}.plot>svg{display:block;width:100%;height:auto;font-size:12.5px;",
    "font-family:inherit;font-variant-numeric:tabular-nums;overflow:visible}",
    ".wide>div{overflow-x:auto}.wide .plot{min-width:820px}",
    ".swatch .line{stroke-width:2.5}svg text{fill:var(--soft)}svg .label{fill:var(--ink)}",
    ".gridline{stroke:var(--line);fill:none}.axis{stroke:var(--soft);fill:none}",
    ".limit{stroke:var(--ink);fill:none;stroke-dasharray:5 4;stroke-opacity:.55}",
    ".line,.faint,.join{fill:none;stroke:currentColor;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}",
    ".faint{stroke-width:1;stroke-opacity:.25}.join{stroke-width:1.6;stroke-opacity:.7}",
    ".dash1{stroke-dasharray:7 5}.dash2{stroke-dasharray:1.5 5}",
    ".line,.faint,.join,.limit,.gridline,.axis{vector-effect:non-scaling-stroke}",
    ".mark{fill:currentColor;stroke:var(--card);stroke-width:1.5;transform-box:fill-box;transform-origin:center}",
    ".cell{stroke:var(--card);stroke-width:1}.dense .cell{stroke-width:0}",

    ".hit{position:absolute;width:26px;height:26px;margin:-13px 0 0 -13px;border-radius:50%;cursor:default}",
    ".hit:hover,.hit:focus{z-index:2;outline:0;box-shadow:inset 0 0 0 2px var(--ink)}",
    ".hit>span{display:none;position:absolute;left:24px;top:24px;width:max-content;max-width:250px;",
    "padding:8px 11px;border-radius:8px;background:var(--ink);color:var(--card);font-size:13px;line-height:1.45;",
    "white-space:pre-line;overflow-wrap:anywhere;pointer-events:none;box-shadow:0 4px 14px rgb(0 0 0/.25)}",
    ".hit.l>span{left:auto;right:24px}.hit.u>span{top:auto;bottom:24px}",
    ".hit:hover>span,.hit:focus>span{display:block}.hit>span::first-line{font-weight:600}",

    ".text{white-space:pre-wrap;overflow-wrap:anywhere;font-size:16px;line-height:1.8;margin:12px 0 0;",
    "max-width:none;color:var(--ink)}",
    ".text span{padding:.14em 0}",

    ".s0{color:var(--s0)}.s1{color:var(--s1)}.s2{color:var(--s2)}.s3{color:var(--s3)}",
    ".s4{color:var(--s4)}.s5{color:var(--s5)}.s6{color:var(--s6)}",
    ".h0{color:var(--h0)}.h1{color:var(--h1)}.h2{color:var(--h2)}.h3{color:var(--h3)}.h4{color:var(--h4)}",
    ".h5{color:var(--h5)}.h6{color:var(--h6)}.h7{color:var(--h7)}.h8{color:var(--h8)}.h9{color:var(--h9)}",
    ".t0,.ramp .t0{background:var(--t0)}.t1,.ramp .t1{background:var(--t1)}",
    ".t2,.ramp .t2{background:var(--t2)}.t3,.ramp .t3{background:var(--t3)}",
    ".t4,.ramp .t4{background:var(--t4)}.t5,.ramp .t5{background:var(--t5)}",
    ".t6,.ramp .t6{background:var(--t6)}.t7,.ramp .t7{background:var(--t7)}",

    "@media(max-width:860px){.tiles{grid-template-columns:repeat(2,minmax(0,1fr))}.grid{grid-template-columns:minmax(0,1fr)}}",
    "@media(max-width:480px){main{padding:28px 14px 48px}h1{font-size:27px}h2{margin-top:44px}",
    ".card,figure{padding:16px 14px}.tiles{gap:10px}.tile{padding:12px 14px}.tile b{font-size:22px}",
    ".plot>svg{font-size:20px}.across{transform:translateY(7px)}.upward{transform:translateY(-5px)}",
    ".mark{transform:scale(1.5)}.wide .plot>svg{font-size:14px}",
    ".swatch .mark{transform:none}.hit>span{max-width:170px}",
    "tbody th{min-width:130px;max-width:150px}th,td{padding:8px 9px}table{font-size:14px}}",
    "@media print{body{background:#fff;font-size:12px}main{max-width:none;padding:0}",
    ".card,.tile,figure,tr{break-inside:avoid}h2{break-after:avoid;margin-top:28px}",
    "pre{max-height:none;white-space:pre-wrap}.hit{display:none}",
    "*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}",
};
/* clang-format on */

void beam_style_write(FILE *to)
{
    for (size_t i = 0; i < sizeof sheet / sizeof *sheet; i++)
        fprintf(to, "%s\n", sheet[i]);
}
