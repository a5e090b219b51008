export default function command() {}
