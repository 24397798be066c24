import redo from "bootstrap-icons/icons/arrow-clockwise.svg";
import down from "bootstrap-icons/icons/arrow-down.svg";
import repeat from "bootstrap-icons/icons/arrow-repeat.svg";
import enter from "bootstrap-icons/icons/box-arrow-in-right.svg";
import leave from "bootstrap-icons/icons/box-arrow-right.svg";
import open from "bootstrap-icons/icons/box-arrow-up-right.svg";
import success from "bootstrap-icons/icons/check-circle-fill.svg";
import check from "bootstrap-icons/icons/check-lg.svg";
import expand from "bootstrap-icons/icons/chevron-down.svg";
import waiting from "bootstrap-icons/icons/circle.svg";
import system from "bootstrap-icons/icons/circle-half.svg";
import clock from "bootstrap-icons/icons/clock.svg";
import copy from "bootstrap-icons/icons/copy.svg";
import notReached from "bootstrap-icons/icons/dash-circle.svg";
import download from "bootstrap-icons/icons/download.svg";
import warning from "bootstrap-icons/icons/exclamation-triangle-fill.svg";
import secret from "bootstrap-icons/icons/key.svg";
import dark from "bootstrap-icons/icons/moon-stars-fill.svg";
import person from "bootstrap-icons/icons/person-circle.svg";
import skipped from "bootstrap-icons/icons/skip-forward.svg";
import stopped from "bootstrap-icons/icons/slash-circle.svg";
import light from "bootstrap-icons/icons/sun-fill.svg";
import disconnected from "bootstrap-icons/icons/wifi-off.svg";
import failure from "bootstrap-icons/icons/x-circle-fill.svg";

const icons = {
  check,
  clock,
  copy,
  dark,
  disconnected,
  down,
  download,
  enter,
  expand,
  failure,
  leave,
  light,
  notReached,
  open,
  person,
  redo,
  secret,
  repeat,
  skipped,
  stopped,
  success,
  system,
  waiting,
  warning,
};

export type IconName = keyof typeof icons;

/** An ornament beside a word, in the colour of that word; never the only bearer of a meaning. */
export function Icon({ name, className = "" }: { name: IconName; className?: string }) {
  return <span aria-hidden className={`icon ${className}`} style={{ maskImage: `url("${icons[name]}")` }} />;
}
