export default function demo() {}
