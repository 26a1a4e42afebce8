// Streams and panoramas are left out: the demo plays plain files.
export default null;
