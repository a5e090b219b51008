export default function old() {}
