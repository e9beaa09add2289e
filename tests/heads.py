"""Made-up heads, from formulas alone: what scanners, formats and other body parts do to a scan."""

import numpy as np

# Grey values of air and bone, fluid, grey matter, white matter and scalp.
CONTRASTS = {
    "T1w": (0, 30, 70, 100, 110),
    "T2w": (0, 130, 65, 50, 80),
    "PD": (0, 100, 90, 78, 100),
    "FLAIR": (0, 15, 100, 82, 90),
    "CT": (-1000, 10, 37, 29, -40),
}
BONE = {"CT": 900}
MIDDLE = (118.0, 136.0, 135.0)  # of the head in mm, from the corner of the field of view
EXTENT = (237, 273, 249)  # of the field of view, in mm


def head(
    mm=3.0, contrast="T1w", middle=MIDDLE, extent=EXTENT, skull=True, yaw=0.0, roll=0.0, lesion=None
):
    """A head (X, Y, Z) float32 in RAS with voxels of `mm` (a number, or three), and its affine.

    `lesion`: a place in mm from the head's middle, as (x, y, z, radius), that is dark.
    """
    size = np.broadcast_to(np.array(mm, float), 3)
    axes = [(np.arange(int(length / step)) + 0.5) * step for length, step in zip(extent, size)]
    shifted = [axis - centre for axis, centre in zip(axes, middle)]
    x, y, z = np.meshgrid(*shifted, indexing="ij", sparse=not (yaw or roll))
    x, y = x * np.cos(yaw) + y * np.sin(yaw), y * np.cos(yaw) - x * np.sin(yaw)
    x, z = x * np.cos(roll) + z * np.sin(roll), z * np.cos(roll) - x * np.sin(roll)
    air, fluid, grey, white, scalp = CONTRASTS[contrast]
    out = np.sqrt((x / 78) ** 2 + (y / 98) ** 2 + (z / 88) ** 2)
    # Half a head is not quite the other half's mirror image.
    folds = np.sin(x / 5.5 + 0.02 * y) * np.sin(y / 6.5) * np.sin(z / 6 + 0.01 * x)
    image = np.full(np.broadcast_shapes(x.shape, y.shape, z.shape), air, np.float32)
    neck = (np.sqrt((x / 55) ** 2 + ((y + 10) / 60) ** 2) < 1) & (z < 0) & (out > 0.8)
    if skull:
        image[neck] = scalp
        image[out < 1] = scalp
        image[out < 0.95] = BONE.get(contrast, air)
    image[out < 0.89] = fluid
    image[out < 0.86] = grey
    image[(out < 0.80)] = white
    image[(out < 0.84) & (folds > 0.12) & (out > 0.3)] = grey
    image[(out < 0.86) & (folds > 0.65) & (out > 0.45)] = fluid
    for side in (-1, 1):
        ventricle = ((x - side * 13) / 9) ** 2 + (y / 35) ** 2 + ((z - 8) / 12) ** 2
        image[ventricle < 1] = fluid
    if lesion is not None:
        place, radius = lesion[:3], lesion[3]
        near = sum((axis - at) ** 2 for axis, at in zip((x, y, z), place)) < radius**2
        image[near & (out < 0.86)] = fluid
    affine = np.diag([*size, 1.0])
    affine[:3, 3] = size / 2
    return image, affine


def noisy(image, share, seed=0):
    """Rician noise with an SD of `share` of white matter's 100."""
    rng = np.random.default_rng(seed)
    real = image + rng.normal(0, 100 * share, image.shape)
    return np.hypot(real, rng.normal(0, 100 * share, image.shape)).astype(np.float32)


def wrapped(image):
    """The neck seen again above the vertex: a field of view that was too short."""
    image = image.copy()
    planes = max(1, image.shape[2] // 18)
    image[:, :, -planes:] = 0.9 * image[:, :, :planes]
    return image


def flow_ghost(image, seed=0):
    """Sparse speckles above the vertex."""
    image, planes = image.copy(), image.shape[2] // 12
    speckles = np.random.default_rng(seed).random((*image.shape[:2], planes)) < 0.05
    image[:, :, -planes:] += 30 * speckles
    return image


def half_ghost(image):
    """The N/2 ghost of echo trains, along y."""
    return image + 0.25 * np.roll(image, image.shape[1] // 2, axis=1)


def z_scored(image):
    """Normalised in the head, with air left at 0, which is brighter than fluid."""
    inside = image > 0
    values = image[inside]
    return np.where(inside, (image - values.mean()) / values.std(), 0).astype(np.float32)


def bright_plane(image):
    image = image.copy()
    image[0] = image.max()
    return image


def spike(image, value=1e7):
    image = image.copy()
    image[2, 3, 4] = value
    return image


SPOILERS = {
    "as it is": lambda image: image,
    "SNR 10": lambda image: noisy(image, 0.1),
    "SNR 5": lambda image: noisy(image, 0.2),
    "offset": lambda image: image + 30,
    "wrap-around": wrapped,
    "flow ghost": flow_ghost,
    "N/2 ghost": half_ghost,
    "z-scored in the head": z_scored,
    "z-scored": lambda image: (image - image.mean()) / image.std(),
    "negated": lambda image: -image,
    "bright plane": bright_plane,
    "spike up": spike,
    "spike down": lambda image: spike(image, -1e7),
    "noise, then zeros around it": lambda image: np.pad(
        noisy(image, 0.1)[4:-4, 4:-4, :-4], ((4, 4), (4, 4), (0, 4))
    ),
}


# --- What is no head ------------------------------------------------------------------------------


def _places(mm, extent):
    axes = [(np.arange(int(length / mm)) + 0.5) * mm - length / 2 for length in extent]
    return np.meshgrid(*axes, indexing="ij")


def knee(mm=3.0):
    """A leg of fat and muscle around bones with bright marrow, which meet at a joint."""
    x, y, z = _places(mm, (180, 180, 200))
    radius, thick = np.hypot(x, y), 65 - 0.08 * z
    bone = np.where(np.abs(z) < 35, 38, 18)
    image = np.where(radius < thick, 110.0, 0)
    image[radius < thick - 10] = 45
    image[(np.abs(np.sin(2 * np.arctan2(y, x))) < 0.12) & (radius < thick - 10)] = 90
    image[radius < bone] = 10
    image[radius < bone - 4] = 100
    image[(np.abs(z) < 3) & (radius < bone)] = 60
    return image.astype(np.float32), np.diag([mm, mm, mm, 1.0])


def torso(mm=4.0):
    """A chest with dark lungs above a bright liver, and arms beyond the field of view."""
    x, y, z = _places(mm, (420, 300, 360))
    out = np.hypot(x / 170, y / 110)
    image = np.where(out < 1, 110.0, 0)
    image[out < 0.88] = 50
    for side in (-1, 1):
        image[((x - 75 * side) / 60) ** 2 + (y / 75) ** 2 + ((z - 60) / 120) ** 2 < 1] = 5
    image[((x - 40) / 90) ** 2 + (y / 70) ** 2 + ((z + 130) / 60) ** 2 < 1] = 80
    image[np.hypot(x, y + 70) < 20] = 90
    return image.astype(np.float32), np.diag([mm, mm, mm, 1.0])


def hand(mm=2.0):
    """A palm and five fingers."""
    x, y, z = _places(mm, (160, 60, 200))
    image = np.where((x / 45) ** 2 + (y / 14) ** 2 + ((z + 40) / 50) ** 2 < 1, 90.0, 0)
    for finger in range(5):
        image[(np.hypot(x + 36 - 18 * finger, y) < 8) & (z > -10) & (z < 75)] = 90
    return image.astype(np.float32), np.diag([mm, mm, mm, 1.0])


def bottle(mm=3.0):
    """A ball of one fluid, as scanners are tested with."""
    x, y, z = _places(mm, (220, 220, 220))
    image = np.where(np.sqrt(x**2 + y**2 + z**2) < 85, 100.0, 0)
    return image.astype(np.float32), np.diag([mm, mm, mm, 1.0])


# --- Damaged, or no scan of a head: each with its affine, in voxels of 3 mm -----------------------


def with_gaps():
    """Every other slice is empty."""
    image, affine = head(3.0)
    image = np.round(noisy(image, 0.05))
    image[:, :, ::2] = 0
    return image, affine


def padded_ct():
    """A CT whose air was overwritten by what scanners write where they measured nothing."""
    image, affine = head(3.0, "CT")
    image = image + np.random.default_rng(0).normal(0, 5, image.shape)
    return np.where(image < -500, -3024, image).astype(np.float32), affine


def uniform_image(noise=1.0, seed=0):
    """As an MP2RAGE's uniform image: noise for air, of up to so much of the head's brightest."""
    image, affine = head(3.0)
    image = noisy(image, 0.02)
    air = np.random.default_rng(seed).uniform(0, noise * np.percentile(image, 99.5), image.shape)
    return np.where(image > 0.1 * np.percentile(image, 99), image, air).astype(np.float32), affine


def far_background():
    image, affine = head(3.0)
    return np.where(image > 0, noisy(image, 0.02), np.float32(-9999)), affine


def parcellation():
    """Over 300 labels, a cube each."""
    image, affine = head(3.0)
    x, y, z = (np.arange(length) // 8 for length in image.shape)
    labels = (image > 0) * (1 + z + 20 * y[:, None] + 400 * x[:, None, None])
    return labels.astype(np.float32), affine
