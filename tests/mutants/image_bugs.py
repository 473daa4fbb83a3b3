"""Bugs in reading images: wrong pixels, wrong classes, wrong sides of a split, and files that are believed or lost."""

from tests.mutants.bugs import bugs_in

SPLITS = (
    *bugs_in("models/cifar/data/images.py", "models/cifar/parts models/cifar/data/images",
             ("validation_and_test_swapped", 'Splits(sets["train"], sets["validation"], sets["test"], report)',
              'Splits(sets["train"], sets["test"], sets["validation"], report)'),
             ("held_out_images_trained_on", 'parts |= _held_out(parts["train"], config, data.classes)',
              'parts |= {**_held_out(parts["train"], config, data.classes), "train": parts["train"]}')),
    *bugs_in("models/cifar/data/splitting.py", "models/cifar/data/splitting",
             ("split_by_place", "zip(hashes.T, offsets)",
              "zip(np.arange(2 * len(hashes), dtype=np.uint64).reshape(-1, 2).T, offsets)"),
             ("one_split_for_all_seeds", 'f"{what} {seed}"', 'f"{what}"'),
             ("limit_and_validation_drawn_alike", 'f"{what} {seed}"', 'f"{seed}"'),
             ("identical_images_on_both_sides",
              "members[: ends[min(int(np.searchsorted(ends, count)), len(ends) - 1)]]", "members[:count]")),
)  # fmt: skip

PIXELS = (
    *bugs_in("models/cifar/data/decoding.py", "models/cifar/data/decoding",
             ("turned_the_wrong_way", "6: Image.Transpose.ROTATE_270", "6: Image.Transpose.ROTATE_90"),
             ("sixteen_bits_cut", "(values + 128) // 257", "values // 257"),
             ("twelve_bits_come_out_black", "if largest < FILLS_16_BITS:", "if largest < 0:"),
             ("any_format_is_opened", "formats=FORMATS", "formats=None")),
    *bugs_in("models/cifar/data/limits.py", "models/cifar/data/decoding",
             ("pixels_by_the_width", "if width * height <= LARGEST_PIXELS:", "if width <= LARGEST_PIXELS:")),
)  # fmt: skip

FILES = (
    *bugs_in("models/cifar/data/sources.py", "models/cifar/data/odd_archives models/cifar/data/report",
             ("links_cannot_leave", 'if part == ".." and not parts:\n            return None',
              'if part == ".." and not parts:\n            continue'),
             ("lost_members_are_not_noticed", "if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):",
              "if file.read(tarfile.BLOCKSIZE) is None:"),
             ("unpacked_beyond_the_header", "file.read(max(1, info.file_size))", "file.read()"),
             ("times_that_can_be_set_are_believed", " {status.st_ctime_ns}", "")),
    *bugs_in("models/cifar/data/layout.py", "models/cifar/data/odd_folders",
             ("subfolders_are_lost", "elif len(place) < 2:", "elif len(place) != 2:")),
    *bugs_in("models/cifar/data/names.py", "models/cifar/data/odd_folders",
             ("accents_written_two_ways", 'unicodedata.normalize("NFC", name)', "name")),
    *bugs_in("models/cifar/data/image_folder.py", "models/cifar/data/odd_folders models/cifar/data/odd_archives",
             ("left_out_without_a_word", "if unreadable and not skip:", "if unreadable and skip is None:"),
             ("changed_while_it_is_read", "if _key(path, image_size)[0] != key:", "if key is None:")),
    *bugs_in("models/cifar/data/report.py", "models/cifar/data/report",
             ("test_images_in_train_not_found", "combinations(parts, 2)", "combinations(list(parts)[:2], 2)")),
    *bugs_in("theory/numerics/cache.py", "theory/numerics/cache models/cifar/data/image_cache",
             ("edited_files_are_believed", "if head != _head(key, [content]):", "if len(head) != HEAD_BYTES:"),
             ("files_of_other_questions_are_believed", 'len(key).to_bytes(8, "big") + key', 'b""')),
)  # fmt: skip

BUGS = (*SPLITS, *PIXELS, *FILES)
